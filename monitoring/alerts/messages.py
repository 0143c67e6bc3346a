"""What a message says, in the form of each kind of channel."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from monitoring.alerts.deliveries import ALERTMANAGER_REFRESH
from monitoring.alerts.text import runbook_url
from monitoring.models import Alert, Delivery, Notification

SHOWN = 50  # subjects in a message for people
RESOLVED = Delivery.Event.RESOLVED
# Alertmanager takes an alert for over that was not repeated until then.
HELD_FOR = 3 * ALERTMANAGER_REFRESH


@dataclass(frozen=True)
class Item:
    """One alert of a message: that it fires, or is over. The newest of what a message has to say of it."""

    alert: Alert
    event: str

    @property
    def over(self) -> bool:
        """Whether it does not fire any more."""
        return self.event == RESOLVED


@dataclass(frozen=True)
class Message:
    """What one channel is told about one rule."""

    id: str
    rule: Any
    items: Sequence[Item]

    @property
    def firing(self) -> list[Item]:
        """What goes on."""
        return [item for item in self.items if not item.over]

    @property
    def status(self) -> str:
        """`firing` while any of it does."""
        return "firing" if self.firing else "resolved"

    @property
    def title(self) -> str:
        """One line: state, how many, what."""
        first = (self.firing or self.items)[0].alert
        more = f" (and {len(self.items) - 1} more)" if len(self.items) > 1 else ""
        counted = f"{self.status.upper()} {first.severity}"
        return f"[{counted}] {first.summary or self.rule.name}{more}"


def message_of(notification: Notification) -> Message:
    """What a notification says now. Of an alert that began and ended within it, both are told: as over."""
    newest: dict[int, Item] = {}
    rows = notification.deliveries.select_related("alert").order_by("created_at", "id")
    for row in rows:
        newest[row.alert_id] = Item(row.alert, row.event)
    return Message(str(notification.pk), notification.rule, list(newest.values()))


def alert_url(alert: Alert) -> str:
    """Its page in the admin."""
    if alert.pk is None:
        return f"{settings.PUBLIC_URL}/admin/"
    return settings.PUBLIC_URL + reverse("admin:monitoring_alert_change", args=[alert.pk])


def as_text(message: Message) -> str:
    """For people: a line for each subject, then what to do."""
    lines = []
    for item in message.items[:SHOWN]:
        sign = "over" if item.over else "fires"
        since = item.alert.resolved_at if item.over else item.alert.fired_at
        at = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
        lines.append(f"{sign}{at}: {item.alert.subject_label}: {item.alert.summary}\n  {alert_url(item.alert)}")
    if len(message.items) > SHOWN:
        lines.append(f"… and {len(message.items) - SHOWN} more")
    if described := message.items[0].alert.description:
        lines.append(described)
    if url := runbook_url(message.rule.runbook):
        lines.append(f"Runbook: {url}")
    return "\n\n".join(lines)


def as_json(message: Message) -> dict[str, Any]:
    """For machines; `id` is the same when it is sent again."""
    rule = message.rule
    return {
        "version": 1,
        "id": message.id,
        "status": message.status,
        "title": message.title,
        "rule": {
            "slug": rule.slug, "name": rule.name, "condition": rule.condition, "runbook_url": runbook_url(rule.runbook),
        },
        "alerts": [_alert_json(item) for item in message.items],
    }  # fmt: skip


def _alert_json(item: Item) -> dict[str, Any]:
    alert = item.alert
    return {
        "id": alert.pk, "event": item.event, "severity": alert.severity, "subject": alert.subject,
        "subject_label": alert.subject_label, "tenant": str(alert.tenant_id) if alert.tenant_id else None,
        "summary": alert.summary, "description": alert.description, "value": alert.value,
        "fired_at": _iso(alert.fired_at), "resolved_at": _iso(alert.resolved_at), "resolution": alert.resolution,
        "url": alert_url(alert),
    }  # fmt: skip


def signed(body: bytes, secret: str, message_id: str) -> dict[str, str]:
    """The headers by which a receiver knows that a body is ours and of now: HMAC-SHA256 over `timestamp.body`."""
    stamp = str(int(time.time()))
    headers = {"X-Controlplane-Id": message_id, "X-Controlplane-Timestamp": stamp}
    if secret:
        mac = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers["X-Controlplane-Signature"] = f"sha256={mac}"
    return headers


def as_slack(message: Message) -> dict[str, Any]:
    """Text with Slack's three escapes, so that a tenant's name mentions nobody."""
    text = f"*{message.title}*\n{as_text(message)}"
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, name)
    return {"text": text[:39_000]}


def as_alertmanager(message: Message) -> list[dict[str, Any]]:
    """API v2's list of alerts: the same labels each time, an end that is in the future while it fires."""
    return [_alertmanager_alert(message, item) for item in message.items]


def _alertmanager_alert(message: Message, item: Item) -> dict[str, Any]:
    alert, rule = item.alert, message.rule
    labels = {"alertname": rule.slug, "severity": alert.severity, "scope": rule.scope, "subject": alert.subject_label}
    labels |= {"tenant_id": str(alert.tenant_id)} if alert.tenant_id else {}
    annotations = {"summary": alert.summary, "description": alert.description}
    annotations |= {"runbook_url": url} if (url := runbook_url(rule.runbook)) else {}
    started = alert.fired_at or alert.created_at
    ends = alert.resolved_at if item.over and alert.resolved_at else timezone.now() + HELD_FOR
    return {
        "labels": labels, "annotations": annotations, "generatorURL": alert_url(alert), "startsAt": _iso(started),
        "endsAt": _iso(max(ends, started + timedelta(milliseconds=1))),
    }  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def encoded(document: Any) -> bytes:
    """As it goes over the wire, and is signed."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
