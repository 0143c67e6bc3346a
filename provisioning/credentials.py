"""The credentials of a tenant that a worker provisioned: handed out once, to whoever may have them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from provisioning.services import Connection, connection_of
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, NotFound
from tenants.models import Operation, TenantRole


def collect_credentials(*, operation_id: Any, actor: Actor, source: Source) -> Connection:
    """The connection that a finished `tenant.provision` operation made; a second call is refused.

    Raises NotFound, Conflict `not_finished`, or Conflict `already_collected` (status 410).
    """
    try:
        operation = Operation.objects.select_related("tenant__cluster").get(pk=operation_id, kind="tenant.provision")
    except (Operation.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound("There is no such provisioning.") from error
    if operation.state != Operation.State.SUCCEEDED or operation.tenant is None:
        raise Conflict("There are no credentials yet.", code="not_finished", state=operation.state)
    login = TenantRole.objects.filter(tenant=operation.tenant, name=operation.params["login"]).first()
    with transaction.atomic():
        taken = Operation.objects.filter(pk=operation.pk, result__credentials="uncollected").update(
            result={**operation.result, "credentials": "collected"}
        )
        if not taken or login is None or not login.secret:
            raise Conflict(
                "These credentials were handed out already.",
                code="already_collected",
                status=410,
                hint="Rotate the tenant's credentials to get new ones.",
            )
        audit.record("credentials.reveal", actor=actor, source=source, tenant=operation.tenant, after=login.as_audit())
    return connection_of(operation.tenant, login.name, login.password())
