"""The second pair of eyes: a purge waits until another person approves it, by PURGE_NEEDS_APPROVAL or by the plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from provisioning.models import PurgeRequest
from provisioning.services.common import Outcome, check_reason
from tenants import audit
from tenants.actors import SYSTEM, Actor, Source
from tenants.exceptions import Conflict, NotFound, PermissionRefused
from tenants.models import ApiKey, AuditEvent, Operation, Plan, Tenant

State = PurgeRequest.State


@dataclass(frozen=True)
class AwaitingApproval(Outcome):
    """Nothing was done yet: the purge waits as `request`."""

    request: PurgeRequest


def approval_needed(tenant: Tenant) -> bool:
    """Whether a purge has to wait for a second person: by the setting, by the tenant's plan, or by one that it once
    had, since otherwise whoever may purge alone would change the plan first."""
    if settings.PURGE_NEEDS_APPROVAL or tenant.plan.purge_needs_approval:
        return True
    strict = list(Plan.objects.filter(purge_needs_approval=True).values_list("slug", flat=True))
    changes = AuditEvent.objects.filter(tenant_id=tenant.pk, action="tenant.update")
    return bool(strict) and changes.filter(before__plan__in=strict).exists()


def _principals(actor: Actor) -> set[str]:
    """The names of those behind an actor: itself, and for a key whoever made it."""
    found = {f"{actor.kind}:{actor.id}", actor.label.casefold()}
    if actor.kind == "api_key":
        found |= {name.casefold() for name in ApiKey.objects.filter(pk=actor.id).values_list("created_by", flat=True)}
    return found


def _behind(tenant: Tenant, actor: Actor) -> set[str]:
    """With beat's own purges those behind the deletion, or one person could delete, wait and approve alone."""
    if actor != SYSTEM:
        return _principals(actor)
    deletion = Operation.objects.filter(tenant=tenant, kind="tenant.delete").order_by("-created_at").first()
    if deletion is None:
        return set()
    return _principals(Actor(deletion.actor_kind, deletion.actor_id, deletion.actor_label))


@transaction.atomic
def request_purge(*, tenant: Tenant, force: bool, reason: str, actor: Actor, source: Source) -> AwaitingApproval:
    """Write the request down. Raises Conflict `approval_pending` while another one of this tenant waits."""
    _expire(PurgeRequest.objects.filter(tenant=tenant))
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    waiting = PurgeRequest.objects.filter(tenant=tenant, state=State.WAITING).first()
    if waiting is not None:
        raise Conflict(
            "A purge of this tenant waits for approval already.", code="approval_pending",
            purge_request=str(waiting.pk),
        )  # fmt: skip
    request = PurgeRequest.objects.create(
        tenant=tenant,
        force=force,
        reason=reason,
        requested_by=actor.label[:150],
        principals=sorted(_behind(tenant, actor)),
        expires_at=timezone.now() + timedelta(seconds=settings.PURGE_APPROVAL_SECONDS),
    )
    after = {"force": force, "expires_at": request.expires_at.isoformat()}
    audit.record("purge.request", actor=actor, source=source, tenant=tenant, target=request, after=after, reason=reason)
    return AwaitingApproval(tenant, None, request)


def get_purge_request(request_id: Any) -> PurgeRequest:
    """The request with this id. Raises NotFound (also for what is no id at all)."""
    try:
        return PurgeRequest.objects.select_related("tenant").get(pk=request_id)
    except (PurgeRequest.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound(f"There is no purge request {request_id}.") from error


def _decide(request: PurgeRequest, state: str, *, reason: str, actor: Actor, source: Source) -> None:
    """Compare and swap, with its event. Raises Conflict when it waits no more."""
    waiting = PurgeRequest.objects.filter(pk=request.pk, state=State.WAITING, expires_at__gt=timezone.now())
    if not waiting.update(state=state, decided_by=actor.label[:150], decided_at=timezone.now(), decision_reason=reason):
        raise Conflict("This request waits no more.", code="already_decided")
    action = {State.APPROVED: "purge.approve", State.REJECTED: "purge.reject"}[State(state)]
    audit.record(action, actor=actor, source=source, tenant=request.tenant, target=request, reason=reason)


def check_approver(request: PurgeRequest, *, actor: Actor) -> None:
    """Raise Conflict when it waits no more, PermissionRefused for whoever is behind the request."""
    if request.state != State.WAITING or request.expires_at <= timezone.now():
        raise Conflict("This request waits no more.", code="already_decided")
    if _principals(actor) & set(request.principals):
        raise PermissionRefused("Somebody else has to approve what you asked for.", code="own_request")


def approve(request: PurgeRequest, *, reason: str, actor: Actor, source: Source) -> None:
    """Mark it approved, in the transaction that starts the purge (see `lifecycle.approve_purge`)."""
    _decide(request, State.APPROVED, reason=reason, actor=actor, source=source)


def reject_purge(*, request_id: Any, reason: str, actor: Actor, source: Source) -> PurgeRequest:
    """Turn a request down; whoever asked may withdraw it, too. Raises NotFound, Conflict `already_decided`."""
    request = get_purge_request(request_id)
    with transaction.atomic():
        _decide(request, State.REJECTED, reason=check_reason(reason), actor=actor, source=source)
    return get_purge_request(request.pk)


def _expire(requests: Any) -> int:
    count = 0
    for request in requests.filter(state=State.WAITING, expires_at__lte=timezone.now()).select_related("tenant"):
        with transaction.atomic():
            if PurgeRequest.objects.filter(pk=request.pk, state=State.WAITING).update(state=State.EXPIRED):
                audit.record(
                    "purge.expire", actor=SYSTEM, source=Source(channel="beat"), tenant=request.tenant, target=request
                )
                count += 1
    return count


def expire_requests() -> int:
    """Close the requests that nobody decided in time. Returns how many."""
    return _expire(PurgeRequest.objects.all())
