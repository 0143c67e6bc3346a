"""How backups are taken: idempotent steps, each of which anybody may run again. What becomes of them after that is in
`backups.upkeep`.

Nothing here decides whether something is allowed; the services do, when they create the operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from backups import capturing
from backups.engine.errors import SchemaChanged
from backups.engine.manifest import Manifest, read_manifest
from backups.engine.verify import verify as verify_files
from backups.models import Backup, BackupCopy, BackupStatus, Storage
from backups.services import copies, take
from backups.services.common import files_id, keyring, prefix_of, remove_copy
from backups.storage.base import StorageError
from backups.storage.opening import open_storage
from backups.watch import Watch
from tenants import audit, metrics, operations
from tenants.exceptions import ClusterBusy, Conflict
from tenants.models import Operation
from tenants.operations import Run, Workflow
from tenants.postgres import Dsn, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
State = Backup.State
Copy = BackupCopy.State
# Read back in the step that wrote it: a step of its own would cost more.
SMALL_BYTES = 16 * 1024 * 1024
RETRY_MINUTES = 10
MOST_RETRIES = 4


@contextmanager
def passing_trouble() -> Iterator[None]:
    """What will be different the next time makes the operation wait and be tried again, not fail."""
    try:
        yield
    except SchemaChanged as error:
        raise ClusterBusy(error.message, code=error.code) from error
    except StorageError as error:
        if not error.extra.get("passing"):
            raise
        raise ClusterBusy(error.message, code=error.code) from error


def backup_of(run: Run) -> Backup:
    """The backup that an operation is about. Raises Conflict when it is gone."""
    found = Backup.objects.filter(pk=run.operation.params["backup"]).first()
    if found is None:
        raise Conflict("The backup is not in the registry any more.", code="backup_gone")
    return found


# --- take ------------------------------------------------------------------------------------------------------


class TakeRun(Run):
    """An attempt by whoever began the operation, and has its rows and the login that reads at hand."""

    def __init__(self, operation: Operation, backup: Backup, copy: BackupCopy, dsn: Dsn) -> None:
        super().__init__(operation)
        self.backup, self.copy, self.dsn = backup, copy, dsn


def take_backup(run: Run) -> None:
    """Copy the data, read back what was written, lock it where that is wanted, and write down that it is there."""
    if isinstance(run, TakeRun):
        backup, copy, dsn = run.backup, run.copy, run.dsn
    else:
        backup, dsn = backup_of(run), capturing.reader(run.tenant.cluster)
        copy = backup.copies.select_related("storage").get(primary=True)
    manifest, small, ring, storage = None, False, keyring(), open_storage(copy.storage)
    with passing_trouble():
        with run.step("copy the data") as needed:
            if needed:
                copy = files_of_this_attempt(run, backup, copy)
                watch = Watch(run, share=(0, 80))
                manifest = capturing.capture_tenant(
                    run.tenant, backup, storage=storage, prefix=copy.prefix, keyring=ring, dsn=dsn,
                    on_progress=watch, on_alive=watch,
                )  # fmt: skip
                if small := manifest.stored_bytes <= SMALL_BYTES:
                    verify_files(storage=storage, prefix=copy.prefix, keyring=ring, deep=False)
        manifest = manifest or read_manifest(storage, copy.prefix, ring)
        if not small:
            with run.step("read back") as needed:
                if needed:
                    watch = Watch(run, share=(80, 99))
                    verify_files(storage=storage, prefix=copy.prefix, keyring=ring, deep=False, on_progress=watch)
        until = None
        if copy.storage.lock_mode != Storage.Lock.NONE:
            with run.step("lock") as needed:
                until = timezone.now() + timedelta(days=copy.storage.lock_days)
                if needed:
                    copies.lock_files(storage, copy.prefix, until)
    with run.finish(backup=str(backup.pk), rows=manifest.rows, bytes=manifest.stored_bytes):
        write_down(run, backup, copy, manifest, until)


def files_of_this_attempt(run: Run, backup: Backup, copy: BackupCopy) -> BackupCopy:
    """An attempt that follows another begins with a name of its own; what the other left is for the reaper."""
    if run.attempt == 1:
        return copy
    prefix = prefix_of(backup.origin_id, files_id(backup.pk, run.attempt))
    with transaction.atomic():
        backup.copies.filter(state=Copy.WRITING).exclude(prefix=prefix).update(state=Copy.FAILED, primary=False)
        copy, _ = BackupCopy.objects.get_or_create(
            backup=backup, storage=copy.storage, prefix=prefix, defaults={"primary": True}
        )
    return copy


def write_down(run: Run, backup: Backup, copy: BackupCopy, manifest: Manifest, until: datetime | None) -> None:
    """The backup is there, in the caller's transaction."""
    now, at = timezone.now(), datetime.fromisoformat(manifest.snapshot_at)
    values: dict[str, Any] = {
        "now": now, "backup": backup.pk, "prefix": copy.prefix, "snapshot_at": at, "lsn": manifest.lsn,
        "server_version": manifest.server_version_num, "fingerprint": manifest.fingerprint, "format_version": 1,
        "key_id": manifest.key.id if manifest.key else "", "tables": len(manifest.tables), "rows": manifest.rows,
        "raw_bytes": manifest.raw_bytes, "stored_bytes": manifest.stored_bytes, "seconds": manifest.seconds,
        "proof": Jsonb(manifest.proof), "locked_until": until,
        "overdue_at": at + timedelta(hours=run.operation.params["alert_after_hours"]),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["finish_take"], values)
        if cursor.fetchone() != (1,):
            raise Conflict("The backup is not running any more.", code="state_changed")
    told = {"rows": manifest.rows, "bytes": manifest.stored_bytes, "seconds": round(manifest.seconds, 3)}
    audit.record(
        "backup.take", actor=run.actor, source=run.source, tenant=run.tenant, target=backup,
        after={**told, "snapshot_at": manifest.snapshot_at, "storage": copy.storage.name, "origin": backup.origin},
    )  # fmt: skip
    copies.begin_copies(backup, run.tenant, copy.prefix, run.operation.params.get("copies", []))


def undo_take(run: Run) -> None:
    """Nothing stays that looks like a backup."""
    backup = backup_of(run)
    with run.step("remove files") as needed:
        if needed:
            remove_unfinished(backup)
    error = run.operation.unwinding or {}
    with run.end():
        now, text = timezone.now(), str(error.get("message", ""))[:500]
        if not Backup.objects.filter(pk=backup.pk, state=State.RUNNING).update(
            state=State.FAILED, finished_at=now, error=text
        ):
            return
        backup.copies.filter(state=Copy.WRITING).update(state=Copy.FAILED)
        audit.record(
            "backup.fail", actor=run.actor, source=run.source, tenant=run.tenant, target=backup, outcome="failure",
            after={"error": error},
        )  # fmt: skip
        if error.get("code") != "cancelled":
            _note_failure(backup, now, text)


def remove_unfinished(backup: Backup) -> None:
    """Take away the files of copies that were being written."""
    for copy in backup.copies.select_related("storage").filter(state=Copy.WRITING):
        try:
            remove_copy(copy)
        except StorageError as error:  # the reaper goes on trying
            backup.copies.filter(pk=copy.pk).update(state=Copy.FAILED, error=str(error)[:500])
        else:
            backup.copies.filter(pk=copy.pk).update(state=Copy.DELETED, deleted_at=timezone.now())


def _note_failure(backup: Backup, now: datetime, text: str) -> None:
    """The tenant is due again soon: after a pause that doubles, a few times; then at its next time."""
    if backup.tenant is None:
        return
    # A backup by hand can come before the scheduler has seen the tenant; who has no row would not be told of.
    status, _ = BackupStatus.objects.get_or_create(tenant=backup.tenant)
    status.failures += 1
    status.last_error, status.last_attempt_at = text, now
    if status.failures <= MOST_RETRIES and backup.origin == Backup.Origin.SCHEDULED:
        again = now + timedelta(minutes=RETRY_MINUTES * 2 ** (status.failures - 1))
        status.next_at = min(again, status.next_at) if status.next_at else again
    status.save(update_fields=["failures", "last_error", "last_attempt_at", "next_at"])


def _measure(operation: Operation, outcome: str, seconds: float) -> None:
    metrics.BACKUP_SECONDS.labels(outcome).observe(seconds)


def register() -> None:
    """Make these known to the operations."""
    from backups import upkeep  # which begins with what is here

    for workflow in (
        Workflow(
            "backup.take",
            take_backup,
            undo_take,
            retry=take.retry_take,
            steps=2,
            scope="backups:write",
            permission="backups.add_backup",
            measure=_measure,
        ),
        Workflow("backup.verify", upkeep.verify_backup),
        Workflow("backup.copy", upkeep.copy_backup, upkeep.undo_copy, steps=2),
        Workflow("backup.expire", upkeep.expire_backups, steps=2, cancellable=False),
    ):
        operations.register(workflow)
