"""What can go wrong with a backup, in words that name the file and the cause."""

from __future__ import annotations

from tenants.exceptions import ControlPlaneError


class BackupError(ControlPlaneError):
    """The backup could not be made or used."""

    code, status = "backup_error", 500


class Damaged(BackupError):
    """A file of the backup is not what was written."""

    code, status = "backup_damaged", 422

    def __init__(self, file: str, cause: str) -> None:
        super().__init__(f"{file}: {cause}.", file=file, cause=cause)
        self.file, self.cause = file, cause


class KeyMissing(BackupError):
    """The key that the backup was encrypted with is not configured."""

    code, status = "backup_key_missing", 422


class SchemaChanged(BackupError):
    """The schema was changed while its backup began."""

    code, status = "schema_changed", 409


class NotCovered(BackupError):
    """The schema holds something that a backup would lose."""

    code, status = "backup_not_covered", 422


class RestoreMismatch(BackupError):
    """What was restored is not what the backup holds."""

    code, status = "restore_mismatch", 500
