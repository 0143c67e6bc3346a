"""Policies: what holds for a tenant, changed under audit, and what one would keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, Subquery

from backups import schedule
from backups.models import BackupPolicy, BackupStatus, PolicyOverride, Storage
from backups.models.policies import FLAGS, NUMBERS, VALUES
from backups.policy import Policy
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Plan, Tenant


@dataclass(frozen=True)
class Effective:
    """What holds for one tenant: the policy, where to, and copied where to. `source` says where it comes from."""

    policy: Policy
    storage: Storage | None
    copies: tuple[Storage, ...]
    source: BackupPolicy
    override: PolicyOverride | None


class Book:
    """All policies, read once, for many tenants."""

    def __init__(self) -> None:
        rows = list(BackupPolicy.objects.select_related("storage", "plan").prefetch_related("copies"))
        self._by_plan = {row.plan_id: row for row in rows}
        if None not in self._by_plan:
            raise NotFound("There is no policy for backups.", hint="Run manage.py migrate.")
        self._default = Storage.objects.filter(is_default=True).first()

    def of(self, tenant: Tenant, override: PolicyOverride | None) -> Effective:
        """What holds for a tenant. Costs no query."""
        row = self._by_plan.get(tenant.plan_id) or self._by_plan[None]
        policy = Policy(**row.values())
        storage = row.storage or self._default
        if override is not None:
            policy = policy.but({name: value for name, value in override.values.items() if name in VALUES})
            storage = override.storage or storage
        copies = tuple(each for each in row.copies.all() if storage is None or each.pk != storage.pk)
        return Effective(policy, storage, copies, row, override)


def effective(tenant: Tenant) -> Effective:
    """What holds for a tenant."""
    override = PolicyOverride.objects.select_related("storage").filter(tenant=tenant).first()
    return Book().of(tenant, override)


def promised(tenant: Tenant) -> Policy:
    """What holds for a tenant, without the storages: one query."""
    override = PolicyOverride.objects.filter(tenant=tenant).order_by().values("values")
    rows = BackupPolicy.objects.filter(Q(plan=tenant.plan_id) | Q(plan=None)).annotate(overridden=Subquery(override))
    row = rows.order_by(F("plan").desc(nulls_last=True)).first()
    if row is None:
        raise NotFound("There is no policy for backups.", hint="Run manage.py migrate.")
    values = row.overridden or {}
    return Policy(**row.values()).but({name: value for name, value in values.items() if name in VALUES})


def of_tenants(tenants: Iterable[Tenant]) -> dict[Any, Effective]:
    """What holds for each of these, by id; four queries, however many they are."""
    every = list(tenants)
    rows = PolicyOverride.objects.select_related("storage").filter(tenant__in=[each.pk for each in every])
    overrides = {row.tenant_id: row for row in rows}
    book = Book()
    return {each.pk: book.of(each, overrides.get(each.pk)) for each in every}


def check_values(values: dict[str, Any], *, base: Policy) -> Policy:
    """`base` with `values`, if that makes sense. Raises InvalidInput naming the field."""
    if unknown := set(values) - set(VALUES):
        raise InvalidInput(f"A policy has no {min(unknown)}.", field=min(unknown))
    for name, value in values.items():
        if name in NUMBERS:
            low, high = NUMBERS[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InvalidInput(f"{name} is a whole number from {low} to {high}.", field=name)
        elif name in FLAGS and not isinstance(value, bool):
            raise InvalidInput(f"{name} is true or false.", field=name)
    if "schedule" in values:
        schedule.parse(str(values["schedule"]))
    if "time_zone" in values:
        schedule.check_zone(str(values["time_zone"]))
    policy = base.but(values)
    if policy.jitter_minutes > policy.window_minutes:
        raise InvalidInput("Tenants are spread within the window: no longer than it is.", field="jitter_minutes")
    return policy


def set_policy(
    *,
    plan: Plan | None,
    changes: dict[str, Any],
    storage: Storage | str | None = "same",
    copies: Iterable[Storage] | None = None,
    actor: Actor,
    source: Source,
) -> BackupPolicy:
    """Change what holds for a plan, or for all that have none of their own; a plan's policy is made when it is missing.

    Tenants get new times at the next look of the scheduler. Raises InvalidInput.
    """
    with transaction.atomic():
        row = BackupPolicy.objects.select_for_update(of=("self",)).filter(plan=plan).first()
        made = row is None
        row = row or _new(plan)
        before = _described(row) if not made else {}
        check_values(changes, base=Policy(**row.values()))
        for name, value in changes.items():
            setattr(row, name, value)
        if storage != "same":
            row.storage = storage  # type: ignore[assignment]
        _save(row)
        if copies is not None:
            row.copies.set(list(copies))
        after = _described(row)
        if before == after:
            return row
        differs = {name: value for name, value in after.items() if before.get(name) != value}
        audit.record(
            "backup_policy.create" if made else "backup_policy.update", actor=actor, source=source, target=row,
            before={name: before.get(name) for name in differs} or None, after=differs,
        )  # fmt: skip
        _work_out_again(plan)
    return row


def _new(plan: Plan | None) -> BackupPolicy:
    """A plan's own policy begins as the one it had."""
    general = BackupPolicy.objects.filter(plan=None).first()
    values = general.values() if general else {}
    return BackupPolicy(plan=plan, storage=general.storage if general else None, **values)


def _save(row: BackupPolicy) -> None:
    try:
        row.full_clean(validate_unique=False)
        with transaction.atomic():
            row.save()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], field=field) from error
    except IntegrityError as error:
        raise Conflict("Somebody else has just made this plan's policy.", code="policy_exists") from error


def _described(row: BackupPolicy) -> dict[str, Any]:
    return {
        **row.values(),
        "storage": row.storage.name if row.storage else None,
        "copies": sorted(each.name for each in row.copies.all()) if row.pk else [],
    }


def drop_policy(*, plan: Plan, actor: Actor, source: Source) -> None:
    """Let a plan follow the policy of all other plans again. Raises NotFound when it does already."""
    with transaction.atomic():
        row = BackupPolicy.objects.select_for_update(of=("self",)).filter(plan=plan).first()
        if row is None:
            raise NotFound(f"The plan {plan.slug} has no policy of its own.")
        audit.record("backup_policy.delete", actor=actor, source=source, target=row, before=_described(row))
        row.delete()
        _work_out_again(plan)


def set_override(
    *,
    tenant: Tenant,
    values: dict[str, Any],
    storage: Storage | None = None,
    reason: str = "",
    actor: Actor,
    source: Source,
) -> PolicyOverride | None:
    """Say where a tenant's backups differ from its plan's policy; nothing at all takes the difference away.

    Raises InvalidInput.
    """
    with transaction.atomic():
        row = PolicyOverride.objects.select_for_update(of=("self",)).filter(tenant=tenant).first()
        check_values(values, base=Policy(**_source(tenant).values()))
        before = {**row.values, "storage": row.storage.name if row.storage else None} if row else None
        after = {**values, "storage": storage.name if storage else None}
        if values or storage:
            row, _ = PolicyOverride.objects.update_or_create(
                tenant=tenant, defaults={"values": values, "storage": storage, "reason": reason[:500]}
            )
        elif row is not None:
            row.delete()
            row = None
        if before != after:
            audit.record("backup_policy.override", actor=actor, source=source, tenant=tenant, before=before,
                         after=after, reason=reason)  # fmt: skip
            BackupStatus.objects.filter(tenant=tenant).update(planned_at=None)
    return row


def _source(tenant: Tenant) -> BackupPolicy:
    return Book().of(tenant, None).source


def _work_out_again(plan: Plan | None) -> None:
    """Whoever follows a changed policy gets a new time."""
    rows = BackupStatus.objects.filter(tenant__plan=plan) if plan else BackupStatus.objects.all()
    rows.update(planned_at=None)
