"""New credentials, and the end of old ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from provisioning.services.common import (
    Login,
    Provisioned,
    State,
    act,
    check_reason,
    connection_of,
    get_tenant,
    require,
)
from tenants import audit, operations, pooling, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Tenant, TenantRole
from tenants.postgres import session
from tenants.schemas import roles

TOO_OLD = "The login is as old as its plan allows."


def rotate_credentials(
    *,
    tenant_id: Any,
    overlap_minutes: int | None = None,
    emergency: bool = False,
    reason: str = "",
    actor: Actor,
    source: Source,
) -> Provisioned:
    """A new login and password; the old one works on for the overlap.

    With `overlap_minutes` the old login is closed when these are over; with 0 before this returns. Without, the plan's
    overlap is a minimum: afterwards the old login is closed when it has been unused for a while, at the plan's deadline
    in any case. `emergency` shuts the present login out first, sessions included, whatever else is going on; it needs a
    reason. Raises Conflict while an earlier rotation's overlap lasts, unless the overlap is 0: then that one is closed
    first.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "given new credentials", State.ACTIVE)
    overlap, reason = _checked(tenant, overlap_minutes, emergency, reason)
    who: dict[str, Any] = {"actor": actor, "source": source}
    if emergency:
        _shut_out(tenant, reason=reason, **who)
    if overlap == 0:
        retire_logins(tenant, everything=True, **who)
    rotated = _rotate(tenant, overlap, patient=overlap_minutes is None, handed_out=True, reason=reason, **who)
    if overlap == 0:
        retire_logins(tenant, everything=True, **who)
    return Provisioned(get_tenant(tenant.pk), rotated.operation, rotated.connection)


def rotate_by_policy(*, tenant_id: Any, actor: Actor, source: Source) -> Provisioned:
    """Rotate without anybody asking: the new password waits to be collected, and the old login for that, at most until
    the plan's deadline. Raises Conflict while an earlier overlap lasts."""
    tenant = get_tenant(tenant_id)
    require(tenant, "given new credentials", State.ACTIVE)
    return _rotate(
        tenant, tenant.plan.rotation_overlap_minutes, patient=True, handed_out=False, reason=TOO_OLD,
        actor=actor, source=source,
    )  # fmt: skip


def _checked(tenant: Tenant, overlap: int | None, emergency: bool, reason: str) -> tuple[int, str]:
    reason = check_reason(reason)
    if emergency and overlap:
        raise InvalidInput("In an emergency there is no overlap.", field="overlap_minutes")
    if emergency and not reason:
        raise InvalidInput("An emergency needs a reason.", field="reason")
    if overlap is None:
        return (0 if emergency else tenant.plan.rotation_overlap_minutes), reason
    if isinstance(overlap, bool) or not isinstance(overlap, int) or not 0 <= overlap <= 43_200:
        raise InvalidInput("The overlap has 0 to 43200 minutes (30 days).", field="overlap_minutes")
    return overlap, reason


def _shut_out(tenant: Tenant, *, reason: str, actor: Actor, source: Source) -> None:
    """Both logins are dead before anything else is looked at: no operation that is under way can hold this up."""
    names = roles.logins(tenant.schema_name)
    with session(tenant.cluster.work_dsn()) as link:
        ended = roles.close_logins(link, tenant.schema_name, names, forget_password=True)
    pooling.end_clients(tenant.cluster, names)
    audit.record(
        "credentials.shut_out", actor=actor, source=source, tenant=tenant, reason=reason,
        after={"logins": names, "sessions_ended": ended},
    )  # fmt: skip


def _rotate(
    tenant: Tenant, overlap: int, *, patient: bool, handed_out: bool, reason: str, actor: Actor, source: Source
) -> Provisioned:
    spare = TenantRole.objects.filter(tenant=tenant, state=Login.OFF).order_by("name").first()
    if spare is None:
        raise Conflict(
            "The login before the last is still open.",
            code="overlap_running",
            hint="Wait for its overlap to end, or rotate with overlap_minutes 0.",
        )
    password = secrets.new_password()
    with transaction.atomic():
        operation = operations.create(
            "credentials.rotate",
            tenant=tenant,
            params={"login": spare.name, "overlap_minutes": overlap, "patient": patient, "handed_out": handed_out},
            reason=reason,
            inline=True,
            actor=actor,
            source=source,
        )
        TenantRole.objects.filter(pk=spare.pk).update(secret=secrets.encrypt(password))
    operation = operations.execute(operation)
    connection = connection_of(tenant, spare.name, password) if handed_out else None
    return Provisioned(get_tenant(tenant.pk), operation, connection)


def logins_to_close(now: datetime) -> QuerySet[TenantRole]:
    """Retiring logins whose time is over: see `TenantRole`."""
    quiet = now - timedelta(minutes=settings.ROTATION_UNUSED_MINUTES)
    uncollected = TenantRole.objects.filter(
        tenant=OuterRef("tenant"), state=Login.ACTIVE, collected_at__isnull=True, issued_at__isnull=False
    )
    over = Q(close_by__isnull=True, retire_at__lte=now) | Q(close_by__lte=now)
    unused = Q(last_seen_at__isnull=True) | Q(last_seen_at__lte=quiet)
    done = Q(retire_at__lte=now) & unused & ~Exists(uncollected)
    return TenantRole.objects.filter(over | done, state=Login.RETIRING)


def retire_logins(tenant: Tenant, *, everything: bool = False, actor: Actor, source: Source) -> int:
    """Close the tenant's logins whose time is over (or all that are retiring). Returns how many."""
    retiring = TenantRole.objects if everything else logins_to_close(timezone.now())
    count = 0
    for role in retiring.filter(tenant=tenant, state=Login.RETIRING):
        suffix = role.name.removeprefix(f"{tenant.schema_name}_")
        act("credentials.retire", tenant, reason="", suffix=suffix, actor=actor, source=source)
        count += 1
    return count
