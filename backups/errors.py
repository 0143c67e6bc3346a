"""What can go wrong around backups, beside what the engine and the storages say."""

from __future__ import annotations

from tenants.exceptions import Conflict, ControlPlaneError


class NoStorage(Conflict):
    """There is no storage that takes backups."""

    code = "no_storage"


class NoBackupLogin(NoStorage):
    """The cluster has no login that may read the rows of all tenants."""

    code = "no_backup_login"


class RetentionStopped(ControlPlaneError):
    """Retention would have removed what a policy promises to keep."""

    code, status = "retention_stopped", 500
