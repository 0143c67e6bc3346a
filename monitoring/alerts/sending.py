"""Sending what waits: claimed by lease, tried again later and later, in order for each channel and rule.

A message can be sent twice where a sender dies between sending and noting it; then it has the same id.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from monitoring.alerts import http, messages
from monitoring.alerts.messages import Message
from monitoring.models import Notification, NotificationChannel
from tenants import metrics, secrets
from tenants.exceptions import ControlPlaneError

State, Kind = Notification.State, NotificationChannel.Kind
LEASE = timedelta(seconds=90)
MAX_ATTEMPTS = 12
FIRST_WAIT, LONGEST_WAIT = 5.0, 900.0
JSON = {"Content-Type": "application/json"}


def send_due(*, limit: int = 20, seconds: float = 40.0) -> int:
    """Send what is due, oldest first, up to `limit` messages and for so long. Returns how many were tried."""
    end = timezone.now() + timedelta(seconds=seconds)
    tried = 0
    while tried < limit and timezone.now() < end:
        notification = claim()
        if notification is None:
            break
        attempt(notification)
        tried += 1
    return tried


def claim(now: datetime | None = None) -> Notification | None:
    """The next message, ours for LEASE; None when nothing is due. A later message waits for an earlier one of the same
    channel and rule, so that nobody hears of an end before its beginning."""
    now = now or timezone.now()
    pair = {"channel": OuterRef("channel"), "rule": OuterRef("rule"), "created_at__lt": OuterRef("created_at")}
    earlier = Notification.objects.filter(state__in=[State.WAITING, State.SENDING], **pair)
    due = Q(state=State.WAITING, due_at__lte=now) | Q(state=State.SENDING, lease_until__lte=now)
    with transaction.atomic():
        rows = Notification.objects.select_for_update(skip_locked=True, of=("self",)).filter(due, ~Exists(earlier))
        found = rows.order_by("due_at").first()
        if found is None:
            return None
        Notification.objects.filter(pk=found.pk).update(
            state=State.SENDING, attempts=F("attempts") + 1, lease_until=now + LEASE,
            closed_at=Coalesce("closed_at", now),
        )  # fmt: skip
    return Notification.objects.select_related("channel", "rule").get(pk=found.pk)


def attempt(notification: Notification) -> bool:
    """Send a claimed message, and write down how that went. Returns whether it was sent."""
    status, error = _try(notification)
    metrics.notified(notification.channel.kind, "failed" if error else "sent")
    now = timezone.now()
    mine = Notification.objects.filter(
        pk=notification.pk, state=State.SENDING, attempts=notification.attempts
    )  # whoever lost the lease writes nothing
    channel = NotificationChannel.objects.filter(pk=notification.channel_id)
    if not error:
        with transaction.atomic():
            if mine.update(state=State.SENT, sent_at=now, status=status, error="", lease_until=None):
                channel.update(worked_at=now, last_error="")
        return True
    over = notification.attempts >= MAX_ATTEMPTS or not notification.channel.enabled
    with transaction.atomic():
        if mine.update(
            state=State.FAILED if over else State.WAITING, status=status, error=error[:500], lease_until=None,
            due_at=now + wait_after(notification.attempts),
        ):  # fmt: skip
            channel.update(failed_at=now, last_error=error[:500])
    return False


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: twice as long each time, and never quite the same."""
    seconds = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311


def _try(notification: Notification) -> tuple[int | None, str]:
    if not notification.channel.enabled:
        return None, "The channel is disabled."
    try:
        return deliver(notification.channel, messages.message_of(notification)), ""
    except Rejected as error:
        return error.answered, str(error)
    except ControlPlaneError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: it could not be sent."


class Rejected(http.DeliveryFailed):
    """The server did not take the message."""

    def __init__(self, answer: http.Answer) -> None:
        """With the beginning of what it said."""
        said = " ".join(answer.text.split())
        said = "".join(sign for sign in said if sign.isprintable())[:200]
        super().__init__(f"The server answered {answer.status}{': ' + said if said else ''}.")
        self.answered = answer.status


def deliver(channel: NotificationChannel, message: Message) -> int | None:
    """Send a message by a channel now. Returns the server's status. Raises DeliveryFailed, InvalidInput."""
    return _BY_KIND[channel.kind](channel, message)


def _url(channel: NotificationChannel) -> str:
    return secrets.decrypt(channel.url)


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    answer = http.post(url, body, {**JSON, **headers})
    if not 200 <= answer.status < 300:
        raise Rejected(answer)
    return answer.status


def _webhook(channel: NotificationChannel, message: Message) -> int:
    body = messages.encoded(messages.as_json(message))
    secret = secrets.decrypt(channel.secret) if channel.secret else ""
    return _post(_url(channel), body, messages.signed(body, secret, message.id))


def _slack(channel: NotificationChannel, message: Message) -> int:
    return _post(_url(channel), messages.encoded(messages.as_slack(message)), {})


def _alertmanager(channel: NotificationChannel, message: Message) -> int:
    headers = {"Authorization": f"Bearer {secrets.decrypt(channel.secret)}"} if channel.secret else {}
    url = _url(channel).rstrip("/").removesuffix("/api/v2/alerts") + "/api/v2/alerts"
    return _post(url, messages.encoded(messages.as_alertmanager(message)), headers)


def _email(channel: NotificationChannel, message: Message) -> None:
    subject = " ".join(message.title.split())[:200]
    mail = EmailMessage(
        subject, messages.as_text(message), to=channel.recipients,
        headers={"Message-ID": f"<{message.id}@controlplane>", "Auto-Submitted": "auto-generated"},
    )  # fmt: skip
    try:
        mail.send()
    except OSError as error:  # smtplib's errors are such
        raise http.DeliveryFailed(f"The mail server did not take it: {type(error).__name__}.") from error


_BY_KIND: dict[str, Callable[[NotificationChannel, Message], int | None]] = {
    Kind.EMAIL: _email, Kind.WEBHOOK: _webhook, Kind.SLACK: _slack, Kind.ALERTMANAGER: _alertmanager,
}  # fmt: skip
