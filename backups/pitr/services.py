"""Asking for a base backup of a cluster, and for one tenant as it was at a moment. Workers carry both out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from backups.models import Backup, BackupCopy, ClusterArchive, Recovery
from backups.pitr import programs, scratch
from backups.pitr.errors import OutOfRange, PitrUnavailable
from backups.services import policies, restore, take
from backups.services.common import prefix_of
from tenants import audit, operations
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Cluster, Operation, Tenant
from tenants.models.operations import OPEN_STATES

KINDS = ("full", "diff", "incr")
KEEP_DAYS = 14
RECOVERABLE = (*take.BACKED_UP, Tenant.State.PURGED)


@dataclass(frozen=True)
class Recovering:
    """A recovery that was begun: the backup that it becomes, and the operation that does it."""

    recovery: Recovery
    backup: Backup
    operation: Operation


def archive_of(cluster: Cluster) -> ClusterArchive:
    """A cluster's archive, working. Raises PitrUnavailable, which says what is missing."""
    found = ClusterArchive.objects.select_related("cluster").filter(cluster=cluster.server).first()
    if found is None:
        raise PitrUnavailable(
            f"The cluster {cluster.server.name} has no WAL archive.",
            hint="Set one up: manage.py archive_cluster --help",
        )
    if found.state == ClusterArchive.State.RESTART_NEEDED:
        raise PitrUnavailable(
            f"The cluster {cluster.server.name} does not archive yet.",
            hint="Restart its server, then run manage.py archive_cluster again.",
        )
    if found.state != ClusterArchive.State.ACTIVE:
        raise PitrUnavailable(f"The archive of the cluster {cluster.server.name} is disabled.")
    return found


def base_backup(*, cluster: Cluster, kind: str = "full", actor: Actor, source: Source) -> Operation:
    """Have a base backup of a cluster taken: `full`, `diff` (what changed since the last full one) or `incr`.

    Raises PitrUnavailable, InvalidInput, Conflict while another is being taken.
    """
    if kind not in KINDS:
        raise InvalidInput(f"A base backup is one of {', '.join(KINDS)}.", field="kind")
    archive = archive_of(cluster)
    with transaction.atomic():
        ClusterArchive.objects.select_for_update().get(pk=archive.pk)
        if open_base_backup(archive):
            raise Conflict("A base backup of this cluster is being taken.", code="operation_in_progress")
        operation = operations.create(
            "cluster.base_backup", cluster=cluster.server, params={"archive": archive.pk, "kind": kind},
            exclusive=False, actor=actor, source=source,
        )  # fmt: skip
        audit.record("archive.base_backup_requested", actor=actor, source=source, target=archive, after={"kind": kind})
    return operation


def open_base_backup(archive: ClusterArchive) -> bool:
    """Whether one is under way."""
    rows = Operation.objects.filter(kind="cluster.base_backup", cluster=archive.cluster_id, state__in=OPEN_STATES)
    return rows.exists()


def recover_tenant(
    *,
    tenant_id: Any,
    to: datetime,
    into: str = "backup",
    slug: str = "",
    confirm_slug: str = "",
    backup_before: bool = True,
    reason: str = "",
    actor: Actor,
    source: Source,
) -> Recovering:
    """Have a tenant as it was at `to` recovered from its cluster's archive, as a backup, and that backup restored
    `into` the `same` tenant, a `new` one (called `slug`), or nothing yet (`backup`).

    Raises NotFound, PitrUnavailable, OutOfRange, InvalidInput (`same` needs `confirm_slug` and a reason), Conflict
    (`wrong_state`, `slug_taken`, `operation_in_progress`, `kept_schema`), NoStorage.
    """
    tenant = Tenant.objects.select_related("plan", "cluster__host_cluster").filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    archive = archive_of(tenant.cluster)
    programs.pgbackrest()
    _check_moment(archive, tenant, to)
    then = _check_target(tenant, into, slug, confirm_slug, backup_before, reason)
    with transaction.atomic():
        recovering = _begin(archive, tenant, to, then, reason, actor, source)
        audit.record(
            "backup.recover_requested", actor=actor, source=source, tenant=tenant, target=recovering.backup,
            reason=reason, after={"to": to.isoformat(), **then},
        )  # fmt: skip
    return recovering


def _check_moment(archive: ClusterArchive, tenant: Tenant, to: datetime) -> None:
    if timezone.is_naive(to):
        raise InvalidInput("The time needs a zone, as in 2026-11-23 10:15:00+00.", field="to")
    if to > timezone.now():
        raise OutOfRange("That moment is yet to come.")
    if tenant.created_at > to:
        raise OutOfRange(f"The tenant was made only at {tenant.created_at:%Y-%m-%d %H:%M:%S}+00.")
    if tenant.state not in RECOVERABLE:
        raise Conflict(f"A tenant that is {tenant.state} cannot be recovered.", code="wrong_state", state=tenant.state)
    scratch.base_backup_for(archive, to)


def _check_target(
    tenant: Tenant, into: str, slug: str, confirm_slug: str, backup_before: bool, reason: str
) -> dict[str, Any]:
    """What comes after it, checked as far as it can be before there is a backup."""
    restore.check_reason(reason)
    if into == "backup":
        return {"into": into}
    if into == "same":
        if tenant.state not in restore.REPLACEABLE:
            raise Conflict(
                f"The tenant is {tenant.state}: nothing can be restored into it.", code="wrong_state",
                state=tenant.state, hint="Recover it into a new tenant, or bring it back first.",
            )  # fmt: skip
        if confirm_slug != tenant.slug:
            raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
        if not reason.strip():
            raise InvalidInput("A restore into a tenant needs a reason.", field="reason")
        restore.refuse_kept(tenant)
        return {"into": into, "backup_before": backup_before}
    if into != "new":
        raise InvalidInput("It is restored into same, new or backup.", field="into")
    if not slug:
        raise InvalidInput("A new tenant needs a slug.", field="slug")
    if Tenant.objects.filter(slug=slug).exclude(state=Tenant.State.PURGED).exists():
        raise Conflict(f"The slug '{slug}' is taken.", code="slug_taken")
    return {"into": into, "slug": slug}


def _begin(
    archive: ClusterArchive,
    tenant: Tenant,
    to: datetime,
    then: dict[str, Any],
    reason: str,
    actor: Actor,
    source: Source,
) -> Recovering:
    """All rows, before anything of it is anywhere."""
    storage = take.check_storage(policies.effective(tenant).storage)
    recovery = Recovery(archive=archive, tenant=tenant, target=to, dbname=tenant.cluster.dsn().dbname)
    recovery.directory = str(scratch.directory_for(archive, recovery))
    backup = Backup(
        tenant=tenant, cluster=tenant.cluster, origin_id=tenant.pk, slug=tenant.slug, schema_name=tenant.schema_name,
        template=tenant.template, template_version=tenant.template_version, origin=Backup.Origin.POINT_IN_TIME,
        requested_by=actor.label[:150], note=f"As of {to:%Y-%m-%d %H:%M:%S%z}",
        keep_until=timezone.now() + timedelta(days=KEEP_DAYS),
    )  # fmt: skip
    operation = operations.create(
        "backup.recover", id=uuid.uuid4(), tenant=tenant, reason=restore.check_reason(reason),
        params={"backup": str(backup.pk), "recovery": str(recovery.pk), "to": to.isoformat(), "then": then},
        actor=actor, source=source,
    )  # fmt: skip
    backup.operation = recovery.operation = operation
    recovery.backup = backup
    backup.save(force_insert=True)
    BackupCopy.objects.create(backup=backup, storage=storage, prefix=prefix_of(tenant.pk, backup.pk), primary=True)
    recovery.save(force_insert=True)
    return Recovering(recovery, backup, operation)


def retry_recovery(failed: Operation, actor: Actor, source: Source) -> Operation:
    """Recover the same moment once more, in the caller's transaction."""
    tenant = failed.tenant
    if tenant is None:
        raise Conflict("The tenant is gone.", code="wrong_state")
    to, then = datetime.fromisoformat(failed.params["to"]), failed.params["then"]
    archive = archive_of(tenant.cluster)
    _check_moment(archive, tenant, to)
    again = _begin(archive, tenant, to, then, failed.reason, actor, source)
    Operation.objects.filter(pk=again.operation.pk).update(retry_of=failed)
    return again.operation
