"""A backup restored into a scratch schema, compared with its snapshot, and dropped: the proof that it can be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.utils import timezone

from backups import capturing
from backups.engine.content import compare_content
from backups.models import Backup, BackupStatus, RestoreDrill
from backups.restores.common import RestoreWatch, check_backup, fill, remember, remove
from backups.services.common import keyring
from backups.services.sources import Source
from backups.workflows import passing_trouble
from tenants import audit
from tenants.exceptions import Cancelled, Conflict
from tenants.founding import founder
from tenants.models import Cluster
from tenants.operations import Run
from tenants.postgres import session
from tenants.schemas import roles

State = RestoreDrill.State
SHARED = "extensions"


def drill_of(run: Run) -> RestoreDrill:
    """The row of the drill. Raises Conflict when it is gone."""
    rows = RestoreDrill.objects.select_related("backup__tenant", "cluster__provisioner")
    found = rows.filter(pk=run.operation.params["drill"]).first()
    if found is None or found.cluster is None:
        raise Conflict("The drill, or the cluster it is held on, is gone.", code="drill_gone")
    return found


def hold_drill(run: Run) -> None:
    """Restore, compare fingerprint, rows and content, drop, and write down what that proves."""
    drill = drill_of(run)
    cluster, schema = _place(drill), drill.scratch_schema
    backup, source = check_backup(run)
    with run.step("create roles") as needed:
        if needed:
            with session(cluster.work_dsn()) as link, link.transaction():
                roles.create_roles(link, schema, search_path=[schema, *_shared(backup)])
    with run.step("restore the data") as needed:
        if needed:
            remember(run, done=asdict(fill(run, cluster, schema, source, share=(10, 70), ordered=True)))
    with run.step("compare the content") as needed:
        if needed:
            _compare(run, cluster, schema, source)
    with run.step("drop the scratch schema") as needed:
        if needed:
            remove(cluster, schema, run.alive)
    _prove(run, drill, backup, source)


def _place(drill: RestoreDrill) -> Cluster:
    if drill.cluster is None:
        raise Conflict("The cluster that the drill is held on is gone.", code="drill_gone")
    return drill.cluster


def _shared(backup: Backup) -> list[str]:
    tenant = backup.tenant
    return founder().search_path(tenant)[1:] if tenant is not None and hasattr(tenant, "slot") else [SHARED]


def _compare(run: Run, cluster: Cluster, schema: str, source: Source) -> None:
    watch = RestoreWatch(run, share=(70, 95))
    with passing_trouble():
        compare_content(
            dsn=capturing.reader(cluster), schema=schema, storage=source.storage, prefix=source.prefix,
            keyring=keyring(), on_alive=watch,
        )  # fmt: skip


def _prove(run: Run, drill: RestoreDrill, backup: Backup, source: Source) -> None:
    done, now = run.operation.params["done"], timezone.now()
    checks = {
        "fingerprint": done["fingerprint"], "tables": len(source.manifest.tables), "rows": done["rows"],
        "content": "SHA-256 of every table's rows as COPY writes them",
    }  # fmt: skip
    with run.finish(drill=str(drill.pk), backup=str(backup.pk), **done):
        RestoreDrill.objects.filter(pk=drill.pk, state=State.RUNNING).update(
            state=State.SUCCEEDED, rows=done["rows"], bytes=done["bytes"], seconds=done["seconds"], checks=checks,
            finished_at=now, dropped_at=now,
        )  # fmt: skip
        Backup.objects.filter(pk=backup.pk).update(proven_at=now)
        BackupStatus.objects.filter(tenant=backup.tenant_id).update(last_proven_at=now)
        audit.record(
            "backup.drill", actor=run.actor, source=run.source, tenant=backup.tenant, target=backup,
            after={"drill": str(drill.pk), **done},
        )  # fmt: skip


def undo_drill(run: Run) -> None:
    """The scratch schema goes; what was found stays, as a failure."""
    drill, error = drill_of(run), run.operation.unwinding or {}
    with run.step("drop what is left") as needed:
        if needed:
            remove(_place(drill), drill.scratch_schema, run.alive)
    with run.end():
        if error.get("code") == Cancelled.code:
            drill.delete()
            return
        now, text = timezone.now(), str(error.get("message", ""))[:500]
        RestoreDrill.objects.filter(pk=drill.pk).update(
            state=State.FAILED, error=text, checks={"error": error}, finished_at=now, dropped_at=now
        )
        _tell(run, drill, error)


def _tell(run: Run, drill: RestoreDrill, error: dict[str, Any]) -> None:
    audit.record(
        "backup.drill", actor=run.actor, source=run.source, tenant=drill.backup.tenant, target=drill.backup,
        outcome="failure", after={"drill": str(drill.pk), "error": error},
    )  # fmt: skip
