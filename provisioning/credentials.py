"""Credentials that are stored: handed out once to whoever may have them, or shown again for a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least
from django.utils import timezone

from provisioning.services import Connection, connection_of, get_tenant
from provisioning.services.common import State, check_reason, require
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Operation, Tenant, TenantRole

KINDS = ("tenant.provision", "credentials.rotate", "backup.restore_copy")


def collect_credentials(*, operation_id: Any, actor: Actor, source: Source) -> Connection:
    """The connection that a finished operation made and nobody was given; a second call is refused.

    Raises NotFound, Conflict `not_finished`, or Conflict `already_collected` (status 410).
    """
    try:
        operation = Operation.objects.select_related("tenant__cluster", "tenant__plan").get(
            pk=operation_id, kind__in=KINDS
        )
    except (Operation.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound("There is no such operation that makes credentials.") from error
    if operation.state != Operation.State.SUCCEEDED or operation.tenant is None:
        raise Conflict("There are no credentials yet.", code="not_finished", state=operation.state)
    login = TenantRole.objects.filter(tenant=operation.tenant, name=operation.params["login"]).first()
    with transaction.atomic():
        if not _take(operation) or login is None or not login.secret or _given_again(operation):
            raise Conflict(
                "These credentials were handed out already, or others have taken their place.",
                code="already_collected",
                status=410,
                hint="Rotate the tenant's credentials to get new ones.",
            )
        _note_collected(operation.tenant, login)
        audit.record("credentials.reveal", actor=actor, source=source, tenant=operation.tenant, after=login.as_audit())
    return connection_of(operation.tenant, login.name, login.password())


def _given_again(operation: Operation) -> bool:
    """Whether a later rotation has given the same login another password, which is not this operation's to hand out."""
    later = Operation.objects.filter(
        tenant=operation.tenant, kind="credentials.rotate", params__login=operation.params["login"],
        created_at__gt=operation.created_at,
    )  # fmt: skip
    return later.exclude(state__in=[Operation.State.FAILED, Operation.State.CANCELLED]).exists()


def _take(operation: Operation) -> int:
    """1 for the first who asks, 0 for all others."""
    return Operation.objects.filter(pk=operation.pk, result__credentials="uncollected").update(
        result={**operation.result, "credentials": "collected"}
    )


def _note_collected(tenant: Tenant, login: TenantRole) -> None:
    """From now on the old login's overlap counts, if a rotation had waited for this."""
    now = timezone.now()
    if not TenantRole.objects.filter(pk=login.pk, collected_at__isnull=True).update(collected_at=now):
        return
    overlap = timedelta(minutes=tenant.plan.rotation_overlap_minutes)
    waiting = TenantRole.objects.filter(tenant=tenant, state=TenantRole.State.RETIRING, close_by__isnull=False)
    waiting.update(retire_at=Least(F("close_by"), now + overlap))


def reveal_credentials(*, tenant_id: Any, reason: str, actor: Actor, source: Source) -> Connection:
    """The connection of the tenant's present login, password included, for a reason that is kept in the audit log.

    Raises InvalidInput without a reason, Conflict when the tenant has no login that could be used.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "revealed", State.ACTIVE, State.SUSPENDED)
    if not check_reason(reason):
        raise InvalidInput("Say why the credentials must be shown.", field="reason")
    login = TenantRole.objects.filter(tenant=tenant, state=TenantRole.State.ACTIVE).exclude(secret="").first()
    if login is None:
        raise Conflict("The tenant has no login.", code="no_login")
    password = login.password()
    with transaction.atomic():
        waiting = Operation.objects.filter(
            tenant=tenant, kind__in=KINDS, params__login=login.name, result__credentials="uncollected"
        )
        for operation in waiting:
            _take(operation)
        _note_collected(tenant, login)
        audit.record(
            "credentials.reveal", actor=actor, source=source, tenant=tenant, after=login.as_audit(),
            reason=check_reason(reason),
        )  # fmt: skip
    return connection_of(tenant, login.name, password)
