"""What restores have set aside: confirmed, undone, dropped when its time is over."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from backups.models import KeptSchema
from backups.services.restore import REPLACEABLE, check_reason
from tenants import audit, operations
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput, NotFound
from tenants.models import Operation, Tenant
from tenants.models.operations import OPEN_STATES

log = logging.getLogger(__name__)
State = KeptSchema.State
SETTLED = (State.KEPT, State.UNDONE)


def get_kept(kept_id: Any) -> KeptSchema:
    """What was set aside under this id. Raises NotFound."""
    rows = KeptSchema.objects.select_related("tenant__plan", "tenant__cluster__provisioner", "cluster", "backup")
    found = rows.filter(pk=kept_id).first() if str(kept_id).isdecimal() and len(str(kept_id)) < 18 else None
    if found is None:
        raise NotFound(f"No restore has set anything aside under the number {str(kept_id)[:40]}.")
    return found


def kept_of_tenant(tenant: Tenant) -> KeptSchema | None:
    """What is aside of a tenant now and can still be put back."""
    return KeptSchema.objects.filter(tenant=tenant, state=State.KEPT, kind=KeptSchema.Kind.REPLACED).first()


def confirm_restore(*, kept: KeptSchema, reason: str = "", actor: Actor, source: Source) -> Operation:
    """The restore was right: what it replaced is dropped, by a worker. Raises Conflict."""
    return _drop(kept, "backup.confirm_restore", reason=check_reason(reason), actor=actor, source=source)


def undo_restore(*, kept: KeptSchema, confirm_slug: str, reason: str, actor: Actor, source: Source) -> Operation:
    """Put back what a restore replaced; what the tenant wrote since is set aside in turn, until the same deadline.

    Raises InvalidInput for a wrong `confirm_slug` or no reason, Conflict when it is no more to be had.
    """
    tenant = kept.tenant
    if kept.state != State.KEPT or kept.kind != KeptSchema.Kind.REPLACED:
        raise Conflict(f"What is {kept.state} cannot be put back.", code="wrong_state", state=kept.state)
    if tenant.state not in REPLACEABLE:
        raise Conflict(f"The tenant is {tenant.state}.", code="wrong_state", state=tenant.state)
    if confirm_slug != tenant.slug:
        raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
    if not check_reason(reason):
        raise InvalidInput("Undoing a restore needs a reason.", field="reason")
    with transaction.atomic():
        operation = operations.create(
            "backup.undo_restore", tenant=tenant, params={"kept": kept.pk}, reason=check_reason(reason), actor=actor,
            source=source,
        )  # fmt: skip
        # The logins noted then are not those that are open now: a tenant may have been suspended since.
        if not KeptSchema.objects.filter(pk=kept.pk, state=State.KEPT).update(logins=[]):
            raise Conflict("It was settled meanwhile.", code="state_changed")
        audit.record(
            "backup.undo_restore_requested", actor=actor, source=source, tenant=tenant, target=kept,
            reason=check_reason(reason), after={"operation": str(operation.pk)},
        )  # fmt: skip
    return operation


def _drop(kept: KeptSchema, action: str, *, reason: str, actor: Actor, source: Source) -> Operation:
    with transaction.atomic():
        changed = KeptSchema.objects.filter(pk=kept.pk, state__in=SETTLED).exclude(tenant__in=_being_undone())
        if not changed.update(state=State.DROPPING, settled_at=timezone.now(), settled_by=actor.label[:150]):
            kept.refresh_from_db()
            raise Conflict("It is being put back, or settled already.", code="wrong_state", state=kept.state)
        operation = operations.create(
            "backup.drop_kept", tenant=kept.tenant, params={"kept": kept.pk}, reason=reason, exclusive=False,
            actor=actor, source=source,
        )  # fmt: skip
        audit.record(
            action, actor=actor, source=source, tenant=kept.tenant, target=kept, reason=reason,
            before={"state": kept.state}, after={"schema": kept.schema_name, "operation": str(operation.pk)},
        )  # fmt: skip
    return operation


def _being_undone() -> Any:
    return Operation.objects.filter(kind="backup.undo_restore", state__in=OPEN_STATES).values("tenant")


def drop_due() -> int:
    """Drop what was kept until now. Returns how many."""
    count = 0
    over = KeptSchema.objects.filter(keep_until__lte=timezone.now(), state__in=SETTLED)
    for kept in over.select_related("tenant__cluster"):
        try:
            _drop(kept, "backup.kept_expired", reason="Its time was over.", actor=SYSTEM, source=BEAT)
            count += 1
        except ControlPlaneError as error:
            log.warning("kept.drop_failed", extra={"schema": kept.schema_name, "error": error.code})
    return count
