"""A backup written out as plain files, for whoever has to hand it on: no longer encrypted, and on record."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction

from backups.engine import export as engine
from backups.engine.export import Exported
from backups.models import Backup
from backups.services.restore import check_reason
from backups.services.sources import whole_copy
from tenants import audit
from tenants.actors import Actor
from tenants.actors import Source as Door
from tenants.exceptions import ControlPlaneError, InvalidInput


def export_backup(
    *,
    backup: Backup,
    directory: Path,
    confirm_slug: str,
    reason: str,
    schema: str | None = None,
    compression: str = "gz",
    actor: Actor,
    source: Door,
) -> Exported:
    """Write a backup's schema and rows below a new `directory` of this machine, readable by its owner alone, here and
    now. It is in the log before the first byte is written.

    Raises InvalidInput, Conflict, Damaged, KeyMissing, StorageError.
    """
    if confirm_slug != backup.slug:
        raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
    if not check_reason(reason):
        raise InvalidInput("A backup leaves its encryption for a reason only.", field="reason")
    directory = directory.absolute()
    engine.check_target(directory, compression, schema)
    found = whole_copy(backup, on_progress=lambda *_: None)
    _record("backup.export", backup, reason, actor, source, directory=str(directory), rows=found.manifest.rows)
    try:
        return engine.export(
            storage=found.storage, prefix=found.prefix, manifest=found.manifest, directory=directory, schema=schema,
            compression=compression,
        )  # fmt: skip
    except ControlPlaneError as error:
        _record("backup.export_fail", backup, reason, actor, source, directory=str(directory), error=error.code)
        raise


def _record(action: str, backup: Backup, reason: str, actor: Actor, source: Door, **after: object) -> None:
    outcome = "failure" if action.endswith("_fail") else "success"
    with transaction.atomic():
        audit.record(
            action, actor=actor, source=source, tenant=backup.tenant, target=backup, reason=check_reason(reason),
            outcome=outcome, after=after,
        )  # fmt: skip
