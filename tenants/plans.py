"""Plans, made and changed under audit."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.identifiers import check_name
from tenants.models import Plan, Tenant
from tenants.models.plans import LIMITS

EDITABLE = (
    "name",
    "is_default",
    "isolation_tier",
    *LIMITS,
    "rotation_jitter_days",
    "rotation_overlap_minutes",
    "rotation_deadline_days",
    "on_violation",
    "purge_needs_approval",
    "grace_days",
)


def create_plan(*, slug: str, actor: Actor, source: Source, **values: Any) -> Plan:
    """Add a plan. Raises InvalidInput for a value out of its range, Conflict when the slug is taken."""
    _refuse_unknown(values)
    plan = Plan(slug=slug, **values)
    _check(plan)
    try:
        with transaction.atomic():
            _only_default(plan)
            plan.save(force_insert=True)
            audit.record("plan.create", actor=actor, source=source, target=plan, after={"slug": slug, **values})
    except IntegrityError as error:
        raise Conflict(f"A plan '{slug}' exists already.", code="slug_taken") from error
    return plan


def update_plan(*, plan: Plan, changes: dict[str, Any], actor: Actor, source: Source) -> Plan:
    """Change a plan; nothing is written or recorded when nothing differs. Raises InvalidInput, and Conflict for another
    tier while it has tenants.

    The tenants on it follow once `provisioning.services.apply_plan` has run.
    """
    _refuse_unknown(changes)
    with transaction.atomic():
        plan = Plan.objects.select_for_update().get(pk=plan.pk)
        before = {field: getattr(plan, field) for field, value in changes.items() if getattr(plan, field) != value}
        if not before:
            return plan
        if "isolation_tier" in before and plan.tenants.exclude(state=Tenant.State.PURGED).exists():
            raise Conflict(
                f"The plan '{plan.slug}' has tenants, which stay where they are: its tier cannot be changed.",
                code="plan_in_use",
                hint="Add another plan of that tier for new tenants.",
            )
        if before.get("is_default"):
            raise InvalidInput("One plan is the default.", field="is_default", hint="Make another one the default.")
        for field in before:
            setattr(plan, field, changes[field])
        _check(plan)
        _only_default(plan)
        plan.save(update_fields=[*before, "updated_at"])
        after = {field: getattr(plan, field) for field in before}
        audit.record("plan.update", actor=actor, source=source, target=plan, before=before, after=after)
    return plan


def _refuse_unknown(values: dict[str, Any]) -> None:
    if unknown := set(values) - set(EDITABLE):
        raise InvalidInput(f"A plan has no {min(unknown)} to set.", field=min(unknown))


def _check(plan: Plan) -> None:
    plan.name = check_name(plan.name)
    try:
        plan.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], field=field) from error


def _only_default(plan: Plan) -> None:
    """A new default takes the mark from the old one, in the same transaction."""
    if plan.is_default:
        Plan.objects.filter(is_default=True).exclude(pk=plan.pk).update(is_default=False)
