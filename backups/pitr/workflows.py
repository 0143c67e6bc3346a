"""How base backups are taken and moments recovered: idempotent steps, each of which anybody may run again."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from backups import capturing, restores
from backups.engine.manifest import Manifest, read_manifest
from backups.engine.sessions import close_kept
from backups.engine.verify import verify as verify_files
from backups.models import Backup, BackupCopy, ClusterArchive, Recovery, Storage
from backups.pitr import archive as archives
from backups.pitr import scratch as scratches
from backups.pitr import services
from backups.pitr.errors import PitrUnavailable
from backups.pitr.scratch import Scratch
from backups.services import copies, restore
from backups.services.common import get_backup, keyring
from backups.storage.opening import open_storage
from backups.watch import Watch
from backups.workflows import backup_of, files_of_this_attempt, passing_trouble, remove_unfinished
from tenants import audit, operations
from tenants.exceptions import Cancelled, Conflict, ControlPlaneError, LeaseLost
from tenants.models import Operation
from tenants.models.operations import OPEN_STATES
from tenants.operations import Run, Workflow
from tenants.postgres import Dsn, connect

log = logging.getLogger(__name__)
REMOVED_AFTER = timedelta(minutes=1)


def register() -> None:
    """Make these known to the operations."""
    for workflow in (
        Workflow(
            "backup.recover",
            recover,
            undo_recover,
            retry=services.retry_recovery,
            steps=6,
            scope="backups:restore",
            permission="backups.restore_backup",
            confirmed=True,
            measure=restores.measure,
        ),
        Workflow("cluster.base_backup", take_base_backup),
    ):
        operations.register(workflow)


# --- base backups ------------------------------------------------------------------------------------------------


def take_base_backup(run: Run) -> None:
    """pgBackRest's backup of the whole server; what it keeps no longer goes with it."""
    archive = ClusterArchive.objects.select_related("cluster").get(pk=run.operation.params["archive"])
    kind = run.operation.params["kind"]
    with run.step("base backup") as needed:
        if needed:
            archives.call(archive, "backup", f"--type={kind}", alive=Watch(run))
    with run.step("look at the archive") as needed:
        if needed:
            archives.look(archive)
    newest = archive.base_backups[-1] if archive.base_backups else {}
    with run.finish(base_backup=newest.get("label"), bytes=newest.get("bytes")):
        audit.record(
            "archive.base_backup", actor=run.actor, source=run.source, target=archive,
            after={"kind": kind, "label": newest.get("label"), "bytes": newest.get("bytes")},
        )  # fmt: skip


# --- one tenant at a moment --------------------------------------------------------------------------------------


def recovery_of(run: Run) -> Recovery:
    """The row of the scratch instance. Raises Conflict when it is gone."""
    rows = Recovery.objects.select_related("archive__cluster", "tenant")
    found = rows.filter(pk=run.operation.params["recovery"]).first()
    if found is None:
        raise Conflict("The recovery is not in the registry any more.", code="recovery_gone")
    return found


def recover(run: Run) -> None:
    """Base backup and WAL into a scratch instance, the tenant out of it as a backup, the instance away again; then what
    was asked for is done with the backup."""
    recovery, backup = recovery_of(run), backup_of(run)
    scratch = Scratch(recovery, user=capturing.reader(run.tenant.cluster).user)
    with run.step("check the moment") as needed:
        if needed:
            _check(recovery)
    with run.step("archive what was written since") as needed:
        if needed:
            _archive(run, recovery)
    with run.step("restore the base backup") as needed:
        if needed:
            scratch.restore(Watch(run, share=(5, 40)))
    copy = _recover_and_copy(run, scratch, backup)
    with run.step("remove the scratch instance") as needed:
        if needed:
            _remove(recovery)
    manifest = read_manifest(open_storage(copy.storage), copy.prefix, keyring())
    result: dict[str, Any] = {"backup": str(backup.pk), "rows": manifest.rows, "bytes": manifest.raw_bytes}
    with run.finish(**result):
        _write_down(run, recovery, backup, copy, manifest)
        _go_on(run, backup, result)


def _check(recovery: Recovery) -> None:
    archive = recovery.archive
    archives.look(archive)
    recovery.base_backup = scratches.base_backup_for(archive, recovery.target)
    archives.account(archive).make_directory(archive.scratch)
    scratches.check_space(archive, recovery.base_backup)
    recovery.save(update_fields=["base_backup"])


def _archive(run: Run, recovery: Recovery) -> None:
    archive = recovery.archive
    try:
        done = archives.archive_until_now(archive, Watch(run, share=(0, 5)))
    except (Cancelled, LeaseLost):
        raise
    except ControlPlaneError as error:
        done = False  # the server may be down, which need not matter
        log.warning("archive.not_reached", extra={"cluster": archive.cluster.name, "error": error.code})
    if not done and (archive.archived_at is None or archive.archived_at <= recovery.target):
        raise PitrUnavailable(
            "The WAL of that moment is not in the archive, and the server does not bring it there.",
            hint="See pg_stat_archiver and the server's log; or choose a moment "
            f"before {archive.archived_at:%Y-%m-%d %H:%M:%S}+00." if archive.archived_at else None,
        )  # fmt: skip


def _recover_and_copy(run: Run, scratch: Scratch, backup: Backup) -> BackupCopy:
    """Steps: the instance comes to its moment, and the tenant's schema is read from it as any backup is."""
    copy = backup.copies.select_related("storage").get(primary=True)
    with ExitStack() as open_until_read:
        dsn: Dsn | None = None
        with run.step("recover to the moment") as needed:
            if needed:
                dsn = open_until_read.enter_context(scratch.running(Watch(run, share=(40, 70))))
        with run.step("copy the data") as needed:
            if needed:
                dsn = dsn or open_until_read.enter_context(scratch.running(Watch(run, share=(70, 70))))
                _require_schema(dsn, backup.schema_name)
                copy = files_of_this_attempt(run, backup, copy)
                _copy(run, backup, copy, dsn)
    return copy


def _require_schema(dsn: Dsn, schema: str) -> None:
    with connect(dsn, autocommit=True) as link:
        row = link.execute(archives.QUERIES["schema_there"], {"schema": schema}).fetchone()
    if row != (True,):
        raise Conflict("At that moment the tenant's schema was not there.", code="not_there_then")


def _copy(run: Run, backup: Backup, copy: BackupCopy, dsn: Dsn) -> None:
    storage, ring = open_storage(copy.storage), keyring()
    watch = Watch(run, share=(70, 90))
    with passing_trouble():
        try:
            capturing.capture_tenant(
                run.tenant, backup, storage=storage, prefix=copy.prefix, keyring=ring, dsn=dsn, on_progress=watch,
                on_alive=watch,
            )  # fmt: skip
        finally:
            close_kept()  # they lead to an instance that will not come back
        verify_files(
            storage=storage, prefix=copy.prefix, keyring=ring, deep=False, on_progress=Watch(run, share=(90, 98))
        )
        if copy.storage.lock_mode != Storage.Lock.NONE:
            copies.lock_files(storage, copy.prefix, timezone.now() + timedelta(days=copy.storage.lock_days))


def _remove(recovery: Recovery) -> None:
    Scratch(recovery, user="").remove()
    Recovery.objects.filter(pk=recovery.pk, removed_at__isnull=True).update(removed_at=timezone.now())


def _write_down(run: Run, recovery: Recovery, backup: Backup, copy: BackupCopy, manifest: Manifest) -> None:
    """The backup is there, in the caller's transaction. It shows the moment asked for, and says nothing of how the
    tenant stands now."""
    now = timezone.now()
    until = None
    if copy.storage.lock_mode != Storage.Lock.NONE:
        until = now + timedelta(days=copy.storage.lock_days)
    if not Backup.objects.filter(pk=backup.pk, state=Backup.State.RUNNING).update(
        state=Backup.State.SUCCEEDED, snapshot_at=recovery.target, finished_at=now, verified_at=now, lsn=manifest.lsn,
        server_version=manifest.server_version_num, fingerprint=manifest.fingerprint, format_version=1,
        key_id=manifest.key.id if manifest.key else "", tables=len(manifest.tables), rows=manifest.rows,
        raw_bytes=manifest.raw_bytes, stored_bytes=manifest.stored_bytes, seconds=manifest.seconds,
    ):  # fmt: skip
        raise Conflict("The backup is not running any more.", code="state_changed")
    backup.copies.filter(pk=copy.pk, state=BackupCopy.State.WRITING).update(
        state=BackupCopy.State.STORED, bytes=manifest.stored_bytes, stored_at=now, verified_at=now, locked_until=until
    )
    Recovery.objects.filter(pk=recovery.pk).update(state=Recovery.State.SUCCEEDED, finished_at=now)
    audit.record(
        "backup.recover", actor=run.actor, source=run.source, tenant=run.tenant, target=backup,
        reason=run.operation.reason,
        after={"to": recovery.target.isoformat(), "rows": manifest.rows, "base_backup": recovery.base_backup,
               "storage": copy.storage.name, "operation": str(run.operation.pk)},
    )  # fmt: skip


def _go_on(run: Run, backup: Backup, result: dict[str, Any]) -> None:
    """Begin the restore that was asked for, in the transaction that ends the recovery. Should it be refused now, the
    backup is there all the same, and the result says why."""
    then = run.operation.params["then"]
    if then["into"] == "backup":
        return
    by: dict[str, Any] = {"reason": run.operation.reason, "actor": run.actor, "source": run.source}
    found = get_backup(backup.pk)
    try:
        with transaction.atomic():
            if then["into"] == "new":
                begun = restore.restore_to_new(backup=found, slug=then["slug"], **by)
            else:
                begun = restore.restore_same(
                    backup=found, confirm_slug=run.tenant.slug, backup_before=then["backup_before"], **by
                )
            result |= {"restore": str(begun.operation.pk), "tenant": str(begun.tenant.pk)}
    except ControlPlaneError as error:
        result |= {"restore_refused": {"code": error.code, "message": str(error)}}
    Operation.objects.filter(pk=run.operation.pk).update(result=result)


def undo_recover(run: Run) -> None:
    """Nothing of it stays: no instance, no process, nothing that looks like a backup."""
    recovery, backup = recovery_of(run), backup_of(run)
    with run.step("remove what is left") as needed:
        if needed:
            _remove(recovery)
            remove_unfinished(backup)
    error = run.operation.unwinding or {}
    with run.end():
        now, text = timezone.now(), str(error.get("message", ""))[:500]
        Recovery.objects.filter(pk=recovery.pk).update(state=Recovery.State.FAILED, finished_at=now, error=text)
        Backup.objects.filter(pk=backup.pk, state=Backup.State.RUNNING).update(
            state=Backup.State.FAILED, finished_at=now, error=text
        )
        backup.copies.filter(state=BackupCopy.State.WRITING).update(state=BackupCopy.State.FAILED)
        audit.record(
            "backup.recover_fail", actor=run.actor, source=run.source, tenant=run.tenant, target=backup,
            outcome="failure", after={"error": error, "operation": str(run.operation.pk)},
        )  # fmt: skip


def reap() -> int:
    """Take away the instances that nobody works on any more. Returns how many."""
    rows = Recovery.objects.select_related("archive__cluster", "operation").filter(
        removed_at__isnull=True, started_at__lt=timezone.now() - REMOVED_AFTER
    )
    count = 0
    for recovery in rows.exclude(operation__state__in=OPEN_STATES):
        try:
            _remove(recovery)
        except ControlPlaneError as error:
            log.warning("recovery.reap_failed", extra={"recovery": str(recovery.pk), "error": error.code})
        else:
            count += 1
    return count
