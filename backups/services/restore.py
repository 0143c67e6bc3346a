"""Asking for restores: into a new tenant, or in the place of its tenant's present schema. Workers carry them out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from backups.models import Backup, BackupCopy, KeptSchema
from backups.services import policies, take
from backups.services.common import prefix_of
from backups.services.sources import Source, check_tables, open_backup, registry_record
from tenants import audit, operations
from tenants.actors import Actor
from tenants.actors import Source as Door
from tenants.exceptions import Conflict, InvalidInput
from tenants.founding import Wanted, founder, slug_of_its_own
from tenants.identifiers import new_schema_name
from tenants.models import Cluster, Operation, Plan, Tenant

KEEP_DAYS = 7
MAX_KEEP_DAYS = 90
MAX_REASON = 500
REPLACEABLE = (Tenant.State.ACTIVE, Tenant.State.SUSPENDED)


@dataclass(frozen=True)
class Restoring:
    """A restore that was begun: the tenant it is for, and the operation that does it."""

    tenant: Tenant
    operation: Operation
    kept: KeptSchema | None = None


def restore_to_new(
    *,
    backup: Backup,
    slug: str,
    name: str | None = None,
    plan: str | None = None,
    cluster: str | None = None,
    labels: dict[str, str] | None = None,
    reason: str = "",
    actor: Actor,
    source: Door,
) -> Restoring:
    """Have a backup become a new tenant with credentials of its own, which are collected when it is there.

    What is not given is as it was: name, plan, labels and own limits as the backup's record of the registry says,
    cluster where it was taken. Raises Damaged, KeyMissing, InvalidInput, Conflict (`slug_taken`, `wrong_state`,
    `server_older`).
    """
    found, wanted = describe_copy(backup=backup, slug=slug, name=name, plan=plan, cluster=cluster, labels=labels)
    with slug_of_its_own(slug), transaction.atomic():
        tenant, rows = founder().found(wanted, actor=actor, source=source)
        require_major(found, tenant.cluster)
        event = audit.event(
            "tenant.create", actor=actor, source=source, tenant=tenant, reason=check_reason(reason),
            after={"name": tenant.name, "plan": tenant.plan.slug, "cluster": tenant.cluster.server.name,
                   "isolation_tier": tenant.plan.isolation_tier,
                   "template": f"{tenant.template} v{tenant.template_version}", "labels": tenant.labels,
                   "limits": tenant.limits, "backup": str(backup.pk), "copy_of": backup.slug},
        )  # fmt: skip
        operation = operations.create(
            "backup.restore_copy", tenant=tenant, along_with=[*rows, event], reason=check_reason(reason),
            params={"backup": str(backup.pk), "login": founder().first_login(tenant)}, actor=actor, source=source,
        )  # fmt: skip
        _requested(backup, tenant, operation, "new", actor, source)
    return Restoring(tenant, operation)


def describe_copy(
    *,
    backup: Backup,
    slug: str,
    name: str | None = None,
    plan: str | None = None,
    cluster: str | None = None,
    labels: dict[str, str] | None = None,
) -> tuple[Source, Wanted]:
    """What a copy would be. Raises as `restore_to_new` does."""
    found = open_backup(backup)
    was: dict[str, Any] = (registry_record(found) or {}).get("tenant", {})
    known_plan = was.get("plan") if Plan.objects.filter(slug=was.get("plan")).exists() else None
    wanted = Wanted(
        name=name or f"{str(was.get('name') or backup.slug)[:110]} (copy)",
        slug=slug,
        template=backup.template,
        template_version=backup.template_version,
        plan=plan or known_plan,
        cluster=cluster,
        near=backup.cluster.server.name if backup.cluster else None,
        labels=labels if labels is not None else was.get("labels", {}),
        limits=was.get("limits", {}),
    )
    return found, wanted


def retry_copy(failed: Operation, actor: Actor, source: Door) -> Operation:
    """Make a copy that failed once more, under a new schema name, in the caller's transaction."""
    tenant = failed.tenant
    backup = Backup.objects.filter(pk=failed.params["backup"]).first()
    if tenant is None or backup is None or not backup.restorable:
        raise Conflict("There is nothing to restore from any more.", code="wrong_state")
    rows = founder().found_again(tenant, actor=actor, source=source)
    return operations.create(
        "backup.restore_copy", tenant=tenant, along_with=rows, reason=failed.reason, retry_of=failed,
        params={"backup": str(backup.pk), "login": founder().first_login(tenant)}, actor=actor, source=source,
    )  # fmt: skip


def restore_same(
    *,
    backup: Backup,
    confirm_slug: str,
    reason: str,
    backup_before: bool = True,
    keep_days: int = KEEP_DAYS,
    actor: Actor,
    source: Door,
) -> Restoring:
    """Have a backup take the place of its tenant's present schema, which is kept aside for `keep_days`.

    It is made beside the present one while the tenant works; then the tenant is shut out for the exchange, which takes
    moments. With `backup_before` the present state is backed up first. Raises Damaged, KeyMissing, InvalidInput for a
    wrong `confirm_slug` or no reason, Conflict (`wrong_state`, `kept_schema`, `operation_in_progress`).
    """
    tenant = require_own(backup, confirm_slug=confirm_slug, reason=reason)
    check_keep_days(keep_days)
    require_major(open_backup(backup), tenant.cluster)
    try:
        with transaction.atomic():
            restoring = _begin_same(backup, tenant, reason, backup_before, keep_days, [], actor, source)
            _requested(backup, tenant, restoring.operation, "same", actor, source)
    except IntegrityError as error:
        if "one_kept_schema" in str(error):
            raise _kept_already(tenant) from error
        raise
    return restoring


def restore_tables(
    *,
    backup: Backup,
    tables: Sequence[str],
    confirm_slug: str,
    reason: str,
    backup_before: bool = True,
    actor: Actor,
    source: Door,
) -> Restoring:
    """Have the rows of these tables replaced by those of a backup, all in one transaction, while the tenant works.

    Refused, with the reason, when a foreign key of another table forbids it. Raises as `restore_same` does.
    """
    tenant = require_own(backup, confirm_slug=confirm_slug, reason=reason)
    found = open_backup(backup)
    require_major(found, tenant.cluster)
    names = check_tables(found, tables)
    with transaction.atomic():
        restoring = _begin_same(backup, tenant, reason, backup_before, KEEP_DAYS, names, actor, source)
        _requested(backup, tenant, restoring.operation, "tables", actor, source)
    return restoring


def retry_same(failed: Operation, actor: Actor, source: Door) -> Operation:
    """Restore in place, or the tables, that a failed or cancelled operation should have: with the same choices and the
    same reason, in the caller's transaction. Raises as the first time, but what was typed then is not typed again."""
    was = failed.params
    backup = Backup.objects.filter(pk=was["backup"]).first()
    if backup is None or failed.tenant is None:
        raise Conflict("There is nothing to restore from any more.", code="wrong_state")
    tenant = require_own(backup, confirm_slug=failed.tenant.slug, reason=failed.reason)
    require_major(open_backup(backup), tenant.cluster)
    if failed.kind == "backup.restore":
        refuse_kept(tenant)
    again = _begin_same(
        backup, tenant, failed.reason, bool(was.get("before")), was["keep_days"], was.get("tables", []), actor, source
    ).operation
    Operation.objects.filter(pk=again.pk).update(retry_of=failed)
    return again


def _begin_same(
    backup: Backup, tenant: Tenant, reason: str, backup_before: bool, keep_days: int, tables: list[str], actor: Actor,
    source: Door,
) -> Restoring:  # fmt: skip
    """All rows, before anything of it is anywhere."""
    found = policies.effective(tenant)
    place = take.check_storage(found.storage) if backup_before else None
    params: dict[str, Any] = {
        "backup": str(backup.pk), "keep_days": keep_days, "alert_after_hours": found.policy.alert_after_hours,
        "copies": [each.pk for each in found.copies if place is None or each.pk != place.pk],
    }  # fmt: skip
    if tables:
        params["tables"] = tables
    kind = "backup.restore_tables" if tables else "backup.restore"
    operation = operations.create(
        kind, id=uuid.uuid4(), tenant=tenant, reason=check_reason(reason), actor=actor, source=source
    )
    kept = KeptSchema.objects.create(
        tenant=tenant, cluster=tenant.cluster, schema_name=new_schema_name(), incoming_schema=new_schema_name(),
        kind=KeptSchema.Kind.BESIDE if tables else KeptSchema.Kind.REPLACED,
        backup=backup, operation=operation, keep_until=timezone.now() + timedelta(days=keep_days),
    )  # fmt: skip
    params["kept"] = kept.pk
    if place is not None:
        before = Backup.objects.create(
            tenant=tenant, cluster=tenant.cluster, operation=operation, origin_id=tenant.pk, slug=tenant.slug,
            schema_name=tenant.schema_name, template=tenant.template, template_version=tenant.template_version,
            origin=Backup.Origin.BEFORE_RESTORE, requested_by=actor.label[:150],
            note=f"Before the restore of {backup.snapshot_at:%Y-%m-%d %H:%M:%S}",
        )  # fmt: skip
        BackupCopy.objects.create(backup=before, storage=place, prefix=prefix_of(tenant.pk, before.pk), primary=True)
        params["before"] = str(before.pk)
    Operation.objects.filter(pk=operation.pk).update(params=params)
    operation.params = params
    return Restoring(tenant, operation, kept)


def _requested(backup: Backup, tenant: Tenant, operation: Operation, target: str, actor: Actor, source: Door) -> None:
    audit.record(
        "backup.restore_requested", actor=actor, source=source, tenant=tenant, target=backup, reason=operation.reason,
        after={"target": target, "operation": str(operation.pk)},
    )  # fmt: skip


def _kept_already(tenant: Tenant) -> Conflict:
    kept = KeptSchema.objects.filter(tenant=tenant, kind=KeptSchema.Kind.REPLACED, state=KeptSchema.State.KEPT).first()
    return Conflict(
        "What an earlier restore replaced is still kept.", code="kept_schema",
        hint="Confirm that restore, or undo it, first.", kept=kept.pk if kept else None,
    )  # fmt: skip


def refuse_kept(tenant: Tenant) -> None:
    """Raises Conflict while what an earlier restore replaced is still kept."""
    if KeptSchema.objects.filter(tenant=tenant, kind=KeptSchema.Kind.REPLACED, state=KeptSchema.State.KEPT).exists():
        raise _kept_already(tenant)


def require_own(backup: Backup, *, confirm_slug: str, reason: str) -> Tenant:
    """The tenant a backup is of, if it may be restored there. Raises InvalidInput, Conflict."""
    tenant = Tenant.objects.select_related("plan", "cluster__provisioner").filter(pk=backup.tenant_id).first()
    if tenant is None or tenant.state not in REPLACEABLE:
        state = tenant.state if tenant else "gone"
        raise Conflict(
            f"The tenant is {state}: nothing can be restored into it.", code="wrong_state", state=state,
            hint="Restore it into a new tenant, or bring it back first.",
        )  # fmt: skip
    if confirm_slug != tenant.slug:
        raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
    if not check_reason(reason):
        raise InvalidInput("A restore into a tenant needs a reason.", field="reason")
    return tenant


def require_major(found: Source, cluster: Cluster) -> None:
    """Raises Conflict when the cluster's PostgreSQL is older than the backup's."""
    theirs, ours = found.manifest.server_version_num // 10_000, cluster.server_version_num // 10_000
    if ours < theirs:
        raise Conflict(
            f"The backup is of PostgreSQL {theirs} and the cluster {cluster.name} is {ours}.", code="server_older",
            hint="Restore into the same or a newer major version.",
        )  # fmt: skip


def check_keep_days(days: int) -> int:
    """`days`, if what is set aside can be kept for so long. Raises InvalidInput."""
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_KEEP_DAYS:
        raise InvalidInput(f"What is replaced is kept for 1 to {MAX_KEEP_DAYS} days.", field="keep_days")
    return days


def check_reason(text: str) -> str:
    """`text` without blanks at its ends, if it can be a reason. Raises InvalidInput."""
    if not isinstance(text, str) or len(text) > MAX_REASON or any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise InvalidInput(f"A reason is a text of at most {MAX_REASON} characters.", field="reason")
    return text.strip()
