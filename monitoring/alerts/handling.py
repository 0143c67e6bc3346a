"""What people do with alerts: acknowledge, silence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from monitoring.alerts.rules import check_until, shown
from monitoring.models import Alert, AlertTransition
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, NotFound

State = Alert.State


def get_alert(pk: Any) -> Alert:
    """The alert with this number. Raises NotFound."""
    text = str(pk)
    if text.isdecimal() and len(text) < 18:
        alert = Alert.objects.select_related("rule", "tenant", "cluster").filter(pk=int(text)).first()
        if alert is not None:
            return alert
    raise NotFound(f"There is no alert {text[:40]}.")


def acknowledge(*, alert: Alert, note: str = "", actor: Actor, source: Source) -> Alert:
    """Somebody looks after it: it is not repeated. Raises Conflict unless it fires."""
    now = timezone.now()
    with transaction.atomic():
        changed = Alert.objects.filter(pk=alert.pk, state=State.FIRING).update(
            state=State.ACKNOWLEDGED, acknowledged_at=now, acknowledged_by=actor.label[:150], note=note[:500]
        )
        fresh = get_alert(alert.pk)
        if not changed:
            raise Conflict(f"The alert is {fresh.state}: only one that fires is acknowledged.", code="alert_not_firing")
        AlertTransition.objects.create(
            alert=fresh, state=State.ACKNOWLEDGED, at=now, value=fresh.value, by=actor.label[:150], reason=note[:500]
        )
        audit.record(
            "alert.acknowledge", actor=actor, source=source, tenant=fresh.tenant, target=fresh,
            before={"state": State.FIRING}, after={"state": State.ACKNOWLEDGED}, reason=note,
        )  # fmt: skip
    return fresh


def silence_alert(*, alert: Alert, until: datetime | None, reason: str = "", actor: Actor, source: Source) -> Alert:
    """Tell nobody of one alert until then; None ends that. Raises Conflict when it is over, InvalidInput."""
    check_until(until)
    with transaction.atomic():
        changed = Alert.objects.filter(pk=alert.pk, state__in=Alert.OPEN).update(silenced_until=until)
        fresh = get_alert(alert.pk)
        if not changed:
            raise Conflict("The alert is over.", code="alert_over")
        audit.record(
            "alert.silence" if until else "alert.unsilence", actor=actor, source=source, tenant=fresh.tenant,
            target=fresh, before={"silenced_until": shown(alert.silenced_until)},
            after={"silenced_until": shown(until)}, reason=reason,
        )  # fmt: skip
    return fresh
