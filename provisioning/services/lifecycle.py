"""Suspend, resume, delete, undelete, purge."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from provisioning.models import PurgeRequest
from provisioning.services import approvals
from provisioning.services.additional import close_credentials
from provisioning.services.common import Outcome, State, act, check_reason, get_tenant, require
from provisioning.services.migrator import close_migrator
from tenants import audit, operations
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput
from tenants.models import Domain, Tenant

log = logging.getLogger(__name__)


def suspend_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Shut a tenant out: its logins are closed and its sessions ended. Raises Conflict unless it is active."""
    tenant = get_tenant(tenant_id)
    require(tenant, "suspended", State.ACTIVE)
    outcome = act("tenant.suspend", tenant, reason=check_reason(reason), actor=actor, source=source)
    _close_what_was_lent(tenant, actor=actor, source=source)
    return outcome


def _close_what_was_lent(tenant: Tenant, *, actor: Actor, source: Source) -> None:
    """Logins for a while do not come back with the tenant; none of them can log in any more when this is called."""
    close_migrator(tenant_id=tenant.pk, actor=actor, source=source)
    try:
        close_credentials(tenant_id=tenant.pk, reason="The tenant was shut out.", actor=actor, source=source)
    except ControlPlaneError as error:  # the sweep drops them
        log.warning("credential.close_failed", extra={"tenant": str(tenant.pk), "error": error.code})


def resume_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Let a suspended tenant in again, with the credentials it had."""
    tenant = get_tenant(tenant_id)
    require(tenant, "resumed", State.SUSPENDED)
    return act("tenant.resume", tenant, reason=check_reason(reason), actor=actor, source=source)


def delete_tenant(
    *, tenant_id: Any, reason: str = "", grace_days: int | None = None, actor: Actor, source: Source
) -> Outcome:
    """Shut a tenant out and start its grace period (the plan's, 7 days by default), after which it is purged.

    A tenant that never came to be (`failed`) has nothing to keep and is purged at once.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "deleted", State.ACTIVE, State.SUSPENDED, State.FAILED)
    if tenant.state == State.FAILED:
        return _forget_failed(tenant, reason=check_reason(reason), actor=actor, source=source)
    days = tenant.plan.grace_days if grace_days is None else grace_days
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 365:
        raise InvalidInput("The grace period has 0 to 365 days.", field="grace_days")
    outcome = act("tenant.delete", tenant, reason=check_reason(reason), grace_days=days, actor=actor, source=source)
    _close_what_was_lent(tenant, actor=actor, source=source)
    return outcome


def _forget_failed(tenant: Tenant, *, reason: str, actor: Actor, source: Source) -> Outcome:
    with transaction.atomic():
        if not Tenant.objects.filter(pk=tenant.pk, state=State.FAILED).update(
            state=State.PURGED, version=tenant.version + 1
        ):
            raise Conflict("The tenant's state has changed meanwhile.", code="state_changed")
        Domain.objects.filter(tenant=tenant).delete()
        after = {"state": State.PURGED}
        audit.record(
            "tenant.purge", actor=actor, source=source, tenant=tenant,
            before={"state": State.FAILED}, after=after, reason=reason,
        )  # fmt: skip
    return Outcome(get_tenant(tenant.pk), None)


def undelete_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Bring a deleted tenant back as it was. Raises Conflict once its purge has begun."""
    tenant = get_tenant(tenant_id)
    require(tenant, "undeleted", State.DELETED)
    if not tenant.restore_state:
        raise Conflict("The purge of this tenant has begun; it cannot be brought back.", code="purge_begun")
    return act("tenant.undelete", tenant, reason=check_reason(reason), actor=actor, source=source)


def purge_tenant(
    *, tenant_id: Any, confirm_slug: str, reason: str, force: bool = False, actor: Actor, source: Source
) -> Outcome:
    """Destroy a deleted tenant for good; a worker does it. `confirm_slug` must be its slug, typed again.

    Before the grace period is over, and for tenants that are not deleted, only with `force`. Where a second person
    has to approve (PURGE_NEEDS_APPROVAL, or its plan) nothing is done yet, and the answer is an AwaitingApproval.
    """
    tenant = get_tenant(tenant_id)
    if confirm_slug != tenant.slug:
        raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
    if not check_reason(reason):
        raise InvalidInput("A purge needs a reason.", field="reason")
    early = tenant.purge_after is not None and tenant.purge_after > timezone.now()
    if early and not force:
        raise Conflict("The grace period is not over.", code="grace_period", hint="Use force to purge it now.")
    if not force:
        require(tenant, "purged", State.DELETED)
    if approvals.approval_needed(tenant):
        require(tenant, "purged", State.ACTIVE, State.SUSPENDED, State.DELETED)
        return approvals.request_purge(
            tenant=tenant, force=force, reason=check_reason(reason), actor=actor, source=source
        )
    return _purge(tenant, force=force, reason=reason, actor=actor, source=source)


def approve_purge(*, request_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Start a purge that somebody else has asked for. Raises NotFound, PermissionRefused `own_request`, and Conflict
    when it waits no more or the tenant is not as it was."""
    request = approvals.get_purge_request(request_id)
    approvals.check_approver(request, actor=actor)
    note = check_reason(reason)
    tenant = get_tenant(request.tenant_id)
    early = tenant.purge_after is not None and tenant.purge_after > timezone.now()
    if early and not request.force:
        raise Conflict("The grace period is not over.", code="grace_period")
    return _purge(
        tenant, force=request.force, reason=request.reason, approved=(request, note), actor=actor, source=source
    )


def _purge(
    tenant: Tenant,
    *,
    force: bool,
    reason: str,
    approved: tuple[PurgeRequest, str] | None = None,
    actor: Actor,
    source: Source,
) -> Outcome:
    if force and tenant.state in (State.ACTIVE, State.SUSPENDED):
        delete_tenant(tenant_id=tenant.pk, reason=reason, grace_days=0, actor=actor, source=source)
        tenant = get_tenant(tenant.pk)
    require(tenant, "purged", State.DELETED)
    with transaction.atomic():
        if approved is not None:
            approvals.approve(approved[0], reason=approved[1], actor=actor, source=source)
        operation = operations.create("tenant.purge", tenant=tenant, reason=reason, actor=actor, source=source)
        audit.record("tenant.purge_requested", actor=actor, source=source, tenant=tenant, reason=reason)
    return Outcome(tenant, operation)
