"""More than one copy of a backup: begun, carried out, locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from backups.engine.errors import Damaged
from backups.models import Backup, BackupCopy
from backups.models import Storage as StorageRow
from backups.services.common import MANIFEST
from backups.storage.base import Storage
from tenants import operations
from tenants.actors import SYSTEM, WORKER
from tenants.exceptions import Conflict
from tenants.models import Operation, Tenant

CHUNK_BYTES = 1024 * 1024


def begin_copies(backup: Backup, tenant: Tenant | None, prefix: str, storages: Sequence[int]) -> list[Operation]:
    """Write down where a backup is to be copied to as well, in the caller's transaction; workers do it."""
    begun = []
    for place in StorageRow.objects.filter(pk__in=storages, state=StorageRow.State.ACTIVE) if storages else ():
        copy = BackupCopy.objects.create(backup=backup, storage=place, prefix=prefix)
        begun.append(
            operations.create(
                "backup.copy", tenant=tenant, exclusive=False,
                params={"backup": str(backup.pk), "copy": copy.pk}, actor=SYSTEM, source=WORKER,
            )
        )  # fmt: skip
    return begun


def source_of(backup: Backup, copy: BackupCopy) -> BackupCopy:
    """A whole copy to make another from. Raises Conflict when there is none."""
    rows = backup.copies.select_related("storage").filter(state=BackupCopy.State.STORED).exclude(pk=copy.pk)
    found = rows.order_by("-primary", "pk").first()
    if found is None or backup.state != Backup.State.SUCCEEDED:
        raise Conflict("There is no whole copy to copy from.", code="no_copy")
    return found


def copy_files(origin: Storage, target: Storage, prefix: str, progress: Callable[[int, int], None]) -> None:
    """Bring all files below a prefix to another storage, the manifest last."""
    found = list(origin.list(prefix))
    if not any(each.key == f"{prefix}/{MANIFEST}" for each in found):
        raise Damaged(MANIFEST, "it is missing: there is nothing to copy")
    total, done = sum(each.size for each in found), 0
    for each in sorted(found, key=lambda each: (each.key.endswith(f"/{MANIFEST}"), each.key)):
        with origin.reader(each.key) as file, target.writer(each.key) as writer:
            while block := file.read(CHUNK_BYTES):
                writer.write(block)
                done += len(block)
                progress(done, total)
            writer.commit()


def lock_files(storage: Storage, prefix: str, until: datetime) -> None:
    """Lock every file of a backup. Raises LockUnsupported."""
    for found in list(storage.list(prefix)):
        storage.lock(found.key, until)
