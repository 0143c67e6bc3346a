"""Additional logins of a tenant: for somebody, for a reason, for a while."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from provisioning import slots
from provisioning.models import TenantCredential
from provisioning.services.common import Connection, State, check_reason, connection_of, get_tenant, require
from tenants import audit, pooling, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput, NotFound
from tenants.identifiers import READ_ONLY, READ_WRITE, check_name, new_login_name
from tenants.models import Tenant
from tenants.postgres import session
from tenants.schemas import roles

Access = TenantCredential.Access
MAX_MINUTES = 90 * 24 * 60
MAX_OPEN = 20
CONNECTIONS = 5


@dataclass(frozen=True)
class Issued:
    """A credential and its connection. The password is shown this once and kept nowhere."""

    credential: TenantCredential
    connection: Connection


def issue_credential(
    *,
    tenant_id: Any,
    access: str = Access.READ_ONLY,
    minutes: int = 1440,
    owner: str,
    reason: str,
    actor: Actor,
    source: Source,
) -> Issued:
    """Give a tenant another login, of 5 connections, for 1 minute to 90 days; `owner` is who uses it.

    Raises Conflict unless the tenant is active, or when it has 20 of them; InvalidInput without owner or reason.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "given another login", State.ACTIVE)
    values = _checked(access, minutes, owner, reason)
    credential = _write_down(tenant, values, actor=actor, source=source)
    password = secrets.new_password()
    try:
        _open(tenant, credential, password)
    except ControlPlaneError:
        # What cannot be closed now is closed by the sweep, at its time at the latest.
        with suppress(ControlPlaneError):
            close_credential(
                tenant_id=tenant.pk, credential_id=credential.pk, reason="It could not be opened.",
                actor=actor, source=source,
            )  # fmt: skip
        raise
    return Issued(credential, connection_of(tenant, credential.login, password))


def _checked(access: str, minutes: int, owner: str, reason: str) -> dict[str, Any]:
    if access not in Access.values:
        raise InvalidInput(f"Access is one of {', '.join(Access.values)}.", field="access")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= MAX_MINUTES:
        raise InvalidInput(f"It can last 1 to {MAX_MINUTES} minutes (90 days).", field="minutes")
    if not check_reason(reason):
        raise InvalidInput("An additional login needs a reason.", field="reason")
    expires_at = timezone.now() + timedelta(minutes=minutes)
    return {
        "access": access, "owner": check_name(owner, field="owner"), "reason": check_reason(reason),
        "expires_at": expires_at,
    }  # fmt: skip


def _write_down(tenant: Tenant, values: dict[str, Any], *, actor: Actor, source: Source) -> TenantCredential:
    """The row before the login: whatever dies in between, the sweep finds it and closes."""
    with transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        if TenantCredential.objects.filter(tenant=tenant, closed_at__isnull=True).count() >= MAX_OPEN:
            raise Conflict(f"The tenant has {MAX_OPEN} additional logins.", code="too_many_credentials")
        group = READ_ONLY if values["access"] == Access.READ_ONLY else READ_WRITE
        credential = TenantCredential.objects.create(
            tenant=tenant, login=new_login_name(tenant.schema_name, group), created_by=actor.label[:150], **values
        )
        audit.record(
            "credential.issue", actor=actor, source=source, tenant=tenant, target=credential, reason=values["reason"],
            after={
                "login": credential.login, "access": credential.access, "owner": credential.owner,
                "expires_at": credential.expires_at.isoformat(),
            },
        )  # fmt: skip
    return credential


@transaction.atomic
def _open(tenant: Tenant, credential: TenantCredential, password: str) -> None:
    """Under locks, so that whoever shuts the tenant out or closes this one comes before (and nothing is opened) or
    afterwards (and finds it)."""
    if Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk).state != State.ACTIVE:
        raise Conflict("The tenant's state has changed meanwhile.", code="state_changed")
    if TenantCredential.objects.select_for_update().get(pk=credential.pk).closed_at is not None:
        raise Conflict("The login was closed meanwhile.", code="state_changed")
    with session(tenant.cluster.work_dsn()) as link, link.transaction():
        roles.open_credential(
            link, tenant.schema_name, credential.login, password, until=credential.expires_at,
            limits={**tenant.effective_limits(), "connection_limit": CONNECTIONS},
            search_path=slots.search_path(tenant.slot),
        )  # fmt: skip


def close_credential(
    *, tenant_id: Any, credential_id: Any, reason: str = "", actor: Actor, source: Source
) -> TenantCredential:
    """Shut an additional login out, end its sessions, and take it away. One that is closed already stays as it is.

    Raises NotFound when the tenant has none of this id.
    """
    tenant, because = get_tenant(tenant_id), check_reason(reason)
    try:
        with transaction.atomic():
            credential = TenantCredential.objects.select_for_update().get(pk=credential_id, tenant=tenant)
            if credential.closed_at is None:
                _close(tenant, credential, because, actor=actor, source=source)
    except (TenantCredential.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound(f"There is no credential {credential_id}.") from error
    return credential


def _close(tenant: Tenant, credential: TenantCredential, because: str, *, actor: Actor, source: Source) -> None:
    with session(tenant.cluster.work_dsn()) as link:
        ended = roles.close_credential(link, tenant.schema_name, credential.login)
    pooling.end_clients(tenant.cluster, [credential.login])
    credential.closed_at, credential.closed_because = timezone.now(), because
    credential.save(update_fields=["closed_at", "closed_because"])
    audit.record(
        "credential.close", actor=actor, source=source, tenant=tenant, target=credential, reason=because,
        after={"login": credential.login, "sessions_ended": ended},
    )  # fmt: skip


def close_credentials(*, tenant_id: Any, reason: str, actor: Actor, source: Source) -> int:
    """Close all that a tenant has. Returns how many."""
    open_ones = TenantCredential.objects.filter(tenant_id=tenant_id, closed_at__isnull=True)
    for pk in (found := list(open_ones.values_list("pk", flat=True))):
        close_credential(tenant_id=tenant_id, credential_id=pk, reason=reason, actor=actor, source=source)
    return len(found)
