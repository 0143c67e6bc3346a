"""How backups are verified, copied and removed: idempotent steps, each of which anybody may run again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from backups.engine.errors import Damaged
from backups.engine.verify import verify as verify_files
from backups.models import Backup, BackupCopy, Storage
from backups.services import copies, removal
from backups.services.common import keyring
from backups.storage.opening import open_storage
from backups.watch import Watch
from backups.workflows import backup_of, passing_trouble
from tenants import audit
from tenants.operations import Run

State = Backup.State
Copy = BackupCopy.State


def verify_backup(run: Run) -> None:
    """Read every copy from its first to its last byte. A copy that is not what was written is damaged; a storage that
    does not answer says nothing about it."""
    backup = backup_of(run)
    deep, found = bool(run.operation.params.get("deep")), dict[str, str]()
    kept = list(backup.copies.select_related("storage").filter(state__in=[Copy.STORED, Copy.DAMAGED]))
    for number, copy in enumerate(kept):
        share = (100 * number // len(kept), min(99, 100 * (number + 1) // len(kept)))
        found[str(copy.pk)] = _damage(run, copy, deep=deep, share=share)
    damaged = [why for why in found.values() if why]
    with run.finish(copies=len(found), damaged=len(damaged), deep=deep):
        _write_down_damage(run, backup, found)


def _damage(run: Run, copy: BackupCopy, *, deep: bool, share: tuple[int, int]) -> str:
    """What is wrong with a copy; empty when nothing."""
    with passing_trouble(), run.step(f"verify {copy.storage.name}"):
        try:
            verify_files(
                storage=open_storage(copy.storage), prefix=copy.prefix, keyring=keyring(), deep=deep,
                on_progress=Watch(run, share=share),
            )  # fmt: skip
        except Damaged as error:
            return str(error)
    return ""


def _write_down_damage(run: Run, backup: Backup, found: dict[str, str]) -> None:
    now = timezone.now()
    for pk, why in found.items():
        state = Copy.DAMAGED if why else Copy.STORED
        rows = backup.copies.filter(pk=pk, state__in=[Copy.STORED, Copy.DAMAGED])
        rows.update(state=state, error=why[:500], **({} if why else {"verified_at": now}))
    whole = [pk for pk, why in found.items() if not why]
    changes: dict[str, Any] = {"verified_at": now, "damaged_at": None} if whole else {"damaged_at": now}
    Backup.objects.filter(pk=backup.pk, state=State.SUCCEEDED).update(**changes)
    audit.record(
        "backup.verify", actor=run.actor, source=run.source, tenant=backup.tenant, target=backup,
        outcome="success" if len(whole) == len(found) and found else "failure",
        after={"copies": len(found), "damaged": [why for why in found.values() if why]},
    )  # fmt: skip


# --- copy and remove -------------------------------------------------------------------------------------------


def copy_backup(run: Run) -> None:
    """Bring a backup's files to another storage, the manifest last, and read them back there."""
    backup = backup_of(run)
    copy = backup.copies.select_related("storage").get(pk=run.operation.params["copy"])
    with passing_trouble():
        with run.step("copy the files") as needed:
            if needed:
                origin = copies.source_of(backup, copy)
                copies.copy_files(
                    open_storage(origin.storage), open_storage(copy.storage), origin.prefix, Watch(run, share=(0, 80))
                )
        with run.step("read back") as needed:
            if needed:
                verify_files(
                    storage=open_storage(copy.storage), prefix=copy.prefix, keyring=keyring(), deep=False,
                    on_progress=Watch(run, share=(80, 99)),
                )  # fmt: skip
        until = None
        if copy.storage.lock_mode != Storage.Lock.NONE:
            until = timezone.now() + timedelta(days=copy.storage.lock_days)
            with run.step("lock") as needed:
                if needed:
                    copies.lock_files(open_storage(copy.storage), copy.prefix, until)
    with run.finish(backup=str(backup.pk), storage=copy.storage.name):
        now = timezone.now()
        backup.copies.filter(pk=copy.pk, state=Copy.WRITING).update(
            state=Copy.STORED, stored_at=now, verified_at=now, bytes=backup.stored_bytes, locked_until=until
        )
        audit.record(
            "backup.copy", actor=run.actor, source=run.source, tenant=backup.tenant, target=backup,
            after={"storage": copy.storage.name},
        )  # fmt: skip


def undo_copy(run: Run) -> None:
    """The copy that was begun goes away; the backup stays as it is."""
    rows = BackupCopy.objects.filter(pk=run.operation.params["copy"], state=Copy.WRITING)
    with run.end():
        rows.update(state=Copy.FAILED, error=str((run.operation.unwinding or {}).get("message", ""))[:500])


def expire_backups(run: Run) -> None:
    """Remove what no policy keeps: asked again and guarded, marked, and only then deleted."""
    with run.step("mark") as needed:
        if needed:
            removal.mark(run)
    with passing_trouble(), run.step("delete files") as needed:
        if needed:
            removal.delete_marked(run.operation.params["backups"], alive=Watch(run))
    gone = Backup.objects.filter(pk__in=run.operation.params["backups"], state=State.EXPIRED).count()
    with run.finish(expired=gone):
        pass
