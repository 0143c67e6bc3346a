"""A backup in the place of its tenant's present schema: made beside it while the tenant works, then exchanged."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from backups import capturing
from backups.engine.verify import verify as verify_files
from backups.models import Backup, BackupStatus, KeptSchema, Storage
from backups.restores.common import check_backup, fill, remember, remove
from backups.services import copies
from backups.services.common import keyring
from backups.services.sources import Source
from backups.storage.opening import open_storage
from backups.watch import Watch
from backups.workflows import backup_of, files_of_this_attempt, passing_trouble, remove_unfinished, write_down
from tenants import access, audit, schemas
from tenants.exceptions import Conflict
from tenants.founding import founder
from tenants.models import Tenant
from tenants.operations import Run
from tenants.postgres import connect, session
from tenants.schemas import roles
from tenants.schemas.compiler import fingerprints
from tenants.schemas.switch import switch

State = KeptSchema.State


def kept_of(run: Run) -> KeptSchema:
    """The row of the schema that is set aside. Raises Conflict when it is gone."""
    found = KeptSchema.objects.select_related("cluster__provisioner").filter(pk=run.operation.params["kept"]).first()
    if found is None:
        raise Conflict("What was set aside is not in the registry any more.", code="kept_gone")
    return found


def restore_same(run: Run) -> None:
    """Make the schema anew beside the present one, then shut the tenant out, exchange the two, and let it in again."""
    tenant, kept = run.tenant, kept_of(run)
    backup, source = check_backup(run)
    if run.operation.params.get("before"):
        back_up_first(run)
    _make_incoming(run, kept, source)
    exchange(run, tenant, kept, live_becomes=kept.schema_name, incoming=kept.incoming_schema)
    done = run.operation.params["done"]
    with run.finish(backup=str(backup.pk), kept=kept.pk, kept_schema=kept.schema_name, **done):
        days = run.operation.params["keep_days"]
        before = {"template_version": tenant.template_version}
        keep_until = timezone.now() + timedelta(days=days)
        KeptSchema.objects.filter(pk=kept.pk, state=State.RESTORING).update(
            state=State.KEPT, keep_until=keep_until, template_version=tenant.template_version
        )
        belongs_to(tenant, backup.template_version)
        audit.record(
            "backup.restore", actor=run.actor, source=run.source, tenant=tenant, target=backup, before=before,
            after={"rows": done["rows"], "bytes": done["bytes"], "snapshot_at": source.manifest.snapshot_at,
                   "kept_schema": kept.schema_name, "keep_until": keep_until.isoformat(),
                   "template_version": tenant.template_version, "operation": str(run.operation.pk)},
            reason=run.operation.reason,
        )  # fmt: skip


def _make_incoming(run: Run, kept: KeptSchema, source: Source) -> None:
    with run.step("create roles") as needed:
        if needed:
            with session(kept.place.work_dsn()) as link, link.transaction():
                path = [kept.incoming_schema, *founder().search_path(run.tenant)[1:]]
                roles.create_roles(link, kept.incoming_schema, search_path=path)
    with run.step("restore the data") as needed:
        if needed:
            remember(run, done=asdict(fill(run, kept.place, kept.incoming_schema, source, share=(30, 95))))


def exchange(run: Run, tenant: Tenant, kept: KeptSchema, *, live_becomes: str, incoming: str) -> None:
    """Steps: the tenant is shut out, `incoming` is put in the place of its schema, and the same logins are let in."""
    with run.step("note open logins") as needed:
        # Once: a registry that crashed may have forgotten that this was done, and by then they are closed.
        if needed and not kept.logins:
            kept.logins = access.open_logins(tenant)
            kept.save(update_fields=["logins"])
    with run.step("close logins and end sessions") as needed:
        if needed:
            access.shut(tenant)
    with run.step("exchange the schemas") as needed:
        if needed:
            _switch(run, tenant, live_becomes=live_becomes, incoming=incoming)
    with run.step("open logins") as needed:
        if needed:
            access.let_in(tenant, kept.logins)


def _switch(run: Run, tenant: Tenant, *, live_becomes: str, incoming: str) -> None:
    """Only a schema that is still what the restore has proven."""
    expected = run.operation.params.get("done", {}).get("fingerprint")
    with connect(tenant.cluster.work_dsn(), autocommit=True, statement_timeout_ms=0) as link:
        if expected and schemas.exists(link, incoming):
            found = fingerprints(link, [incoming]).get(incoming)
            if found != expected:
                raise Conflict("The restored schema was changed before it was put in place.", code="restore_changed")
        run.alive()
        switch(link, live=tenant.schema_name, incoming=incoming, aside=live_becomes)


def belongs_to(tenant: Tenant, version: int) -> None:
    """The tenant is a copy of this version of its template now, where that is still known."""
    if version != tenant.template_version:
        founder().note_version(tenant, version)
    Tenant.objects.filter(pk=tenant.pk).update(version=F("version") + 1, updated_at=timezone.now())
    # How it stands now is in no backup: it is due again.
    BackupStatus.objects.filter(tenant=tenant).update(planned_at=None)


def undo(run: Run) -> None:
    """The tenant is as it was: exchanged back if need be, its logins open again, nothing of the restore left."""
    tenant, kept = run.tenant, kept_of(run)
    with run.step("exchange back") as needed:
        if needed:
            _exchange_back(tenant, kept)
    with run.step("open logins again") as needed:
        if needed and kept.logins:
            access.let_in(tenant, kept.logins)
    with run.step("remove what was restored") as needed:
        if needed:
            remove(kept.place, kept.incoming_schema, run.alive)
            give_up_backup(run)
    with run.end():
        kept.delete()
        audit.record(
            "backup.restore_fail", actor=run.actor, source=run.source, tenant=tenant, target=backup_of(run),
            outcome="failure", after={"error": run.operation.unwinding, "operation": str(run.operation.pk)},
        )  # fmt: skip


def _exchange_back(tenant: Tenant, kept: KeptSchema) -> None:
    with connect(tenant.cluster.work_dsn(), autocommit=True, statement_timeout_ms=0) as link:
        if not schemas.exists(link, kept.schema_name):
            return
        access.shut(tenant)
        switch(link, live=tenant.schema_name, incoming=kept.schema_name, aside=kept.incoming_schema)


# --- the present state, backed up before ---------------------------------------------------------------------------


def back_up_first(run: Run) -> None:
    """Step: a backup of what is about to be replaced."""
    with run.step("back up the present state") as needed:
        before = Backup.objects.get(pk=run.operation.params["before"])
        if not needed or before.state != Backup.State.RUNNING:
            return
        row = before.copies.select_related("storage").filter(primary=True).get()
        copy, storage = files_of_this_attempt(run, before, row), open_storage(row.storage)
        with passing_trouble():
            watch: Any = Watch(run, share=(10, 30))
            manifest = capturing.capture_tenant(
                run.tenant, before, storage=storage, prefix=copy.prefix, keyring=keyring(), on_progress=watch,
                on_alive=watch,
            )  # fmt: skip
            verify_files(
                storage=storage, prefix=copy.prefix, keyring=keyring(), deep=False,
                on_progress=Watch(run, share=(30, 30)),
            )  # fmt: skip
            until = None
            if row.storage.lock_mode != Storage.Lock.NONE:
                until = timezone.now() + timedelta(days=row.storage.lock_days)
                copies.lock_files(storage, copy.prefix, until)
        with transaction.atomic():
            write_down(run, before, copy, manifest, until)


def give_up_backup(run: Run) -> None:
    """A backup of the present state that was not finished is none."""
    before = Backup.objects.filter(pk=run.operation.params.get("before"), state=Backup.State.RUNNING).first()
    if before is None:
        return
    remove_unfinished(before)
    Backup.objects.filter(pk=before.pk, state=Backup.State.RUNNING).update(
        state=Backup.State.FAILED, finished_at=timezone.now(), error="The restore that it was for ended before it."
    )
