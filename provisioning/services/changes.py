"""Changing what a tenant is called and what it may use."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from provisioning import resolve
from provisioning.services.common import Outcome, State, act, get_tenant, require
from tenants import audit, operations
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, PreconditionFailed
from tenants.identifiers import check_labels, check_name
from tenants.models import Operation, Plan, Tenant


def update_tenant(
    *, tenant_id: Any, changes: dict[str, Any], expected_version: int | None = None, actor: Actor, source: Source
) -> Outcome:
    """Change name, plan, labels or limits; limits and plan reach the live logins at once.

    Raises PreconditionFailed when `expected_version` is not the present one, Conflict for tenants that are gone.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "changed", State.ACTIVE, State.SUSPENDED, State.DELETED, State.FAILED)
    if expected_version is not None and expected_version != tenant.version:
        raise PreconditionFailed(hint="Read it again, then repeat your change.")
    fields, before, after = _checked_changes(tenant, changes)
    if not fields:
        return Outcome(tenant, None)
    if {"plan_id", "limits"} & set(fields) and tenant.state != State.FAILED:
        return act(
            "tenant.update", tenant, reason="", fields=fields, before=before, after=after,
            effective_limits=tenant.effective_limits(), actor=actor, source=source,
        )  # fmt: skip
    with transaction.atomic():
        if not Tenant.objects.filter(pk=tenant.pk, version=tenant.version).update(
            **fields, version=tenant.version + 1, updated_at=timezone.now()
        ):
            raise PreconditionFailed(hint="Read it again, then repeat your change.")
        audit.record("tenant.update", actor=actor, source=source, tenant=tenant, before=before, after=after)
    return Outcome(get_tenant(tenant.pk), None)


def _checked_changes(tenant: Tenant, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Columns to set, and the same as people read it, before and after. `tenant` gets the new values."""
    if unknown := set(changes) - {"name", "plan", "labels", "limits"}:
        raise InvalidInput(f"{min(unknown)} cannot be changed.", field=min(unknown))
    before = {"name": tenant.name, "plan": tenant.plan.slug, "labels": tenant.labels, "limits": tenant.limits}
    fields: dict[str, Any] = {}
    if "name" in changes:
        fields["name"] = check_name(changes["name"])
    if "labels" in changes:
        fields["labels"] = check_labels(changes["labels"])
    if "limits" in changes:
        fields["limits"] = tenant.limits = resolve.limits(changes["limits"])
    if "plan" in changes:
        tenant.plan = _same_tier(tenant, resolve.plan(changes["plan"]))
        fields["plan_id"] = tenant.plan.pk
    after = {**before, **{k: v for k, v in fields.items() if k != "plan_id"}, "plan": tenant.plan.slug}
    changed = {key for key in before if before[key] != after[key]}
    fields = {k: v for k, v in fields.items() if k.removesuffix("_id") in changed}
    return fields, {key: before[key] for key in changed}, {key: after[key] for key in changed}


def _same_tier(tenant: Tenant, plan: Plan) -> Plan:
    if plan.isolation_tier != tenant.plan.isolation_tier:
        raise Conflict(
            f"The plan '{plan.slug}' is of the tier {plan.isolation_tier}; this tenant lives in a place of the tier "
            f"{tenant.plan.isolation_tier}, and a tenant does not move.",
            code="tier_differs",
            hint="Make a new tenant on that plan, back this one up and restore the backup into the new one.",
        )
    return plan


def apply_plan(*, plan: Plan, actor: Actor, source: Source) -> list[Operation]:
    """Have workers apply a changed plan's limits to its tenants: one operation a cluster."""
    clusters = resolve.clusters_with_plan(plan)
    with transaction.atomic():
        return [
            operations.create(
                "plan.apply", cluster=cluster, params={"plan": plan.slug}, exclusive=False, actor=actor, source=source
            )
            for cluster in clusters
        ]
