"""What is to be told to whom: written in the transaction of the change that it tells of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q, QuerySet

from monitoring.alerts.figures import Subject, concerns, subjects
from monitoring.models import Alert, AlertRule, Delivery, Notification, NotificationChannel, Severity

RANK = {severity: number for number, severity in enumerate(Severity.values)}
Event, State, Kind = Delivery.Event, Alert.State, NotificationChannel.Kind
# Alertmanager forgets what nobody repeats; so much longer than that it is told that an alert goes on.
ALERTMANAGER_REFRESH = timedelta(hours=1)


def wants(channel: NotificationChannel, alert: Alert, subject: Subject) -> bool:
    """Whether a channel is told of this alert."""
    return RANK[alert.severity] >= RANK[channel.min_severity] and concerns(channel, subject)


def tell(rule: AlertRule, alerts: Sequence[Alert], known: dict[str, Subject], now: datetime) -> None:
    """Have channels told of these alerts of a rule: of what fires, once and when it is not silenced; of what is over,
    whoever was told that it fires. In the caller's transaction, which holds the rule's lock."""
    new = [one for one in alerts if one.state == State.FIRING and not one.notified_at and not _silenced(rule, one, now)]
    over = [one for one in alerts if one.state == State.RESOLVED and one.notified_at]
    if new:
        channels = list(NotificationChannel.objects.filter(enabled=True))
        told = [
            (channel, one, Event.FIRING, 0)
            for channel in channels
            for one in new
            if one.subject in known and wants(channel, one, known[one.subject])
        ]
        _queue(rule, told, now)
        Alert.objects.filter(pk__in=[one.pk for one in new]).update(notified_at=now)
    if over:
        _tell_over(rule, over, now)


def _silenced(rule: AlertRule, alert: Alert, now: datetime) -> bool:
    return rule.is_silenced(now) or (alert.silenced_until is not None and alert.silenced_until > now)


def _tell_over(rule: AlertRule, over: Sequence[Alert], now: datetime) -> None:
    by_pk = {alert.pk: alert for alert in over}
    told = Delivery.objects.filter(alert__in=by_pk, channel__enabled=True, channel__send_resolved=True)
    pairs = told.order_by().values_list("alert_id", "channel_id").distinct()
    channels = NotificationChannel.objects.in_bulk({channel for _, channel in pairs})
    _queue(rule, [(channels[channel], by_pk[alert], Event.RESOLVED, 0) for alert, channel in pairs], now)


Told = tuple[NotificationChannel, Alert, str, int]


def _queue(rule: AlertRule, told: Iterable[Told], now: datetime) -> None:
    messages: dict[int, Notification] = {}
    rows = []
    for channel, alert, event, number in told:
        if channel.pk not in messages:
            messages[channel.pk] = _open_message(rule, channel, now)
        rows.append(
            Delivery(
                notification=messages[channel.pk], channel=channel, alert=alert, event=event, number=number,
                created_at=now,
            )
        )  # fmt: skip
    Delivery.objects.bulk_create(rows)


def _open_message(rule: AlertRule, channel: NotificationChannel, now: datetime) -> Notification:
    """The message that waits for more of the same rule, locked so that it is not sent meanwhile, or a new one."""
    found = Notification.objects.select_for_update().filter(rule=rule, channel=channel, closed_at=None).first()
    if found is not None:
        return found
    due = now + timedelta(seconds=settings.ALERT_GROUP_SECONDS)
    return Notification.objects.create(rule=rule, channel=channel, created_at=now, due_at=due)


def remind(now: datetime) -> int:
    """Have channels told again of critical alerts that fire and nobody has acknowledged, and Alertmanagers of all that
    go on. Returns how many deliveries were written."""
    rules = set(_due_again(now).values_list("alert__rule_id", flat=True))
    return sum(_remind_rule(rule, now) for rule in rules)


def _due_again(now: datetime) -> QuerySet[Delivery, Any]:
    repeat = now - timedelta(seconds=settings.ALERT_REPEAT_SECONDS)
    late = Q(last__lte=repeat, alert__state=State.FIRING, alert__severity=Severity.CRITICAL)
    late |= Q(last__lte=now - ALERTMANAGER_REFRESH, channel__kind=Kind.ALERTMANAGER)
    return (
        Delivery.objects.filter(alert__state__in=[State.FIRING, State.ACKNOWLEDGED], channel__enabled=True)
        .order_by()
        .values("alert_id", "channel_id", "alert__rule_id")
        .annotate(last=Max("created_at"), last_number=Max("number"))
        .filter(late)
    )


def _remind_rule(rule_id: int, now: datetime) -> int:
    with transaction.atomic():
        rule = AlertRule.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=rule_id).first()
        if rule is None:
            return 0
        rows = list(_due_again(now).filter(alert__rule=rule))  # again: another evaluation may have repeated meanwhile
        alerts = Alert.objects.select_for_update(of=("self",)).in_bulk({row["alert_id"] for row in rows})
        known = subjects({alert.subject for alert in alerts.values()})
        channels = NotificationChannel.objects.in_bulk({row["channel_id"] for row in rows})
        told = [
            (channels[row["channel_id"]], alerts[row["alert_id"]], Event.REPEAT, row["last_number"] + 1)
            for row in rows
            if _goes_on(rule, alerts[row["alert_id"]], channels[row["channel_id"]], known, now)
        ]
        _queue(rule, told, now)
    return len(told)


def _goes_on(
    rule: AlertRule, alert: Alert, channel: NotificationChannel, known: dict[str, Subject], now: datetime
) -> bool:
    if alert.subject not in known or _silenced(rule, alert, now):
        return False
    return alert.state == State.FIRING or (alert.state == State.ACKNOWLEDGED and channel.kind == Kind.ALERTMANAGER)
