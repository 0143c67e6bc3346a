"""The one way to write the audit log: in the transaction of the change it tells of."""

from __future__ import annotations

from typing import Any

from tenants import rows
from tenants.actors import Actor, Source
from tenants.models import AuditEvent, Tenant


def event(
    action: str,
    *,
    actor: Actor,
    source: Source,
    tenant: Tenant | None = None,
    target: Any = None,
    outcome: str = AuditEvent.Outcome.SUCCESS,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEvent:
    """An event that is not in the log yet; for `record`, and for who inserts it along with other rows.

    `before` and `after` hold what changed, never secrets. `target` is any model instance; without one the tenant is it.
    """
    target = target if target is not None else tenant
    return AuditEvent(
        action=action,
        outcome=outcome,
        actor_kind=actor.kind,
        actor_id=actor.id[:64],
        actor_label=actor.label[:150],
        channel=source.channel,
        ip=source.ip,
        request_id=source.request_id[:64],
        tenant_id=tenant.pk if tenant else None,
        tenant_slug=tenant.slug if tenant else "",
        target_type=target._meta.model_name if target is not None else "",
        target_id=str(target.pk)[:64] if target is not None else "",
        target_label=str(target)[:200] if target is not None else "",
        before=before,
        after=after,
        reason=reason[:500],
    )


def record(action: str, **what: Any) -> None:
    """Append one event, described as for `event`.

    Call it inside the transaction that makes the change, so that neither exists without the other.
    """
    rows.insert(event(action, **what))
