"""New credentials, and the end of old ones."""

from __future__ import annotations

from typing import Any

from django.db import transaction
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
from tenants import operations, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Tenant, TenantRole


def rotate_credentials(
    *, tenant_id: Any, overlap_minutes: int | None = None, reason: str = "", actor: Actor, source: Source
) -> Provisioned:
    """A new login and password; the old one works until the overlap (the plan's by default) ends.

    With an overlap of 0 the old login is closed before this returns. Raises Conflict while an earlier rotation's
    overlap lasts, unless the overlap is 0: then that one is closed first.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "given new credentials", State.ACTIVE)
    overlap = tenant.plan.rotation_overlap_minutes if overlap_minutes is None else overlap_minutes
    if isinstance(overlap, bool) or not isinstance(overlap, int) or not 0 <= overlap <= 43_200:
        raise InvalidInput("The overlap has 0 to 43200 minutes (30 days).", field="overlap_minutes")
    if overlap == 0:
        retire_logins(tenant, everything=True, actor=actor, source=source)
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
            params={"login": spare.name, "overlap_minutes": overlap},
            reason=check_reason(reason),
            inline=True,
            actor=actor,
            source=source,
        )
        TenantRole.objects.filter(pk=spare.pk).update(secret=secrets.encrypt(password))
    operation = operations.execute(operation)
    if overlap == 0:
        retire_logins(tenant, everything=True, actor=actor, source=source)
    tenant = get_tenant(tenant.pk)
    return Provisioned(tenant, operation, connection_of(tenant, spare.name, password))


def retire_logins(tenant: Tenant, *, everything: bool = False, actor: Actor, source: Source) -> int:
    """Close the tenant's logins whose overlap has ended (or all that are retiring). Returns how many."""
    retiring = TenantRole.objects.filter(tenant=tenant, state=Login.RETIRING)
    if not everything:
        retiring = retiring.filter(retire_at__lte=timezone.now())
    count = 0
    for role in retiring:
        suffix = role.name.removeprefix(f"{tenant.schema_name}_")
        act("credentials.retire", tenant, reason="", suffix=suffix, actor=actor, source=source)
        count += 1
    return count
