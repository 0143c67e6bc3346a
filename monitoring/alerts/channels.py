"""Channels, changed and tried under audit. URLs and secrets go in and do not come out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from monitoring.alerts import http, sending
from monitoring.alerts.messages import Item, Message
from monitoring.models import Alert, AlertRule, Delivery, NotificationChannel, Severity
from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput, NotFound

Kind = NotificationChannel.Kind
NARROWING = ("cluster", "plan", "tenant")
EDITABLE = ("enabled", "recipients", "min_severity", "send_resolved", *NARROWING)
MAX_RECIPIENTS, MAX_SECRET = 20, 500


def get_channel(text: Any) -> NotificationChannel:
    """The channel with this name or number. Raises NotFound."""
    which = {"pk": int(text)} if str(text).isdecimal() and len(str(text)) < 18 else {"name": str(text)[:40]}
    channel = NotificationChannel.objects.filter(**which).first()
    if channel is None:
        raise NotFound(f"There is no channel {str(text)[:40]}.")
    return channel


def create_channel(
    *, name: str, kind: str, url: str = "", secret: str = "", values: Mapping[str, Any] | None = None, actor: Actor,
    source: Source,
) -> NotificationChannel:  # fmt: skip
    """A channel. Nothing is sent: `test_channel` tries it. Raises InvalidInput, Conflict."""
    channel = NotificationChannel(name=name, kind=kind)
    _set(channel, dict(values or {}), url, secret)
    if kind == Kind.EMAIL and not channel.recipients:
        raise InvalidInput("E-mail needs an address.", field="recipients")
    if kind != Kind.EMAIL and not url:
        raise InvalidInput("It needs a URL.", field="url")
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
            audit.record("notification_channel.create", actor=actor, source=source, target=channel,
                         after=described(channel))  # fmt: skip
    except IntegrityError as error:
        raise Conflict("There is a channel of this name.", code="name_taken") from error
    return channel


def update_channel(
    *, channel: NotificationChannel, changes: Mapping[str, Any], url: str = "", secret: str = "", actor: Actor,
    source: Source,
) -> NotificationChannel:  # fmt: skip
    """Change a channel; an empty URL or secret stays as it is. Raises InvalidInput."""
    with transaction.atomic():
        fresh = NotificationChannel.objects.select_for_update(of=("self",)).get(pk=channel.pk)
        before = described(fresh)
        _set(fresh, dict(changes), url, secret)
        after = described(fresh)
        differs = [name for name, value in after.items() if before[name] != value]
        told = {name: after[name] for name in differs} | ({"secret": "changed"} if secret or url else {})
        if told:
            fresh.save()
            audit.record("notification_channel.update", actor=actor, source=source, target=fresh,
                         before={name: before[name] for name in differs}, after=told)  # fmt: skip
    return fresh


def _set(channel: NotificationChannel, values: dict[str, Any], url: str, secret: str) -> None:
    if unknown := set(values) - set(EDITABLE):
        raise InvalidInput(f"A channel has no {min(unknown)}.", field=min(unknown))
    for name, value in values.items():
        setattr(channel, name, value)
    if channel.kind not in Kind.values:
        raise InvalidInput(f"One of {', '.join(Kind.values)}.", field="kind")
    if channel.min_severity not in Severity.values:
        raise InvalidInput(f"One of {', '.join(Severity.values)}.", field="min_severity")
    _check_recipients(channel)
    if url:
        if channel.kind == Kind.EMAIL:
            raise InvalidInput("E-mail has addresses and no URL.", field="url")
        channel.place = (http.check_url(url).hostname or "")[:200]
        channel.url = secrets.encrypt(url)
    if secret:
        if not secret.isascii() or not secret.isprintable() or len(secret) > MAX_SECRET:
            raise InvalidInput(f"A secret is at most {MAX_SECRET} printable ASCII characters.", field="secret")
        if channel.kind not in (Kind.WEBHOOK, Kind.ALERTMANAGER):
            raise InvalidInput("Only a webhook is signed and an Alertmanager asks for a token.", field="secret")
        channel.secret = secrets.encrypt(secret)
    try:
        channel.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, found = next(iter(error.message_dict.items()))
        raise InvalidInput(found[0], field=field) from error


def _check_recipients(channel: NotificationChannel) -> None:
    recipients: Sequence[Any] = channel.recipients
    if not isinstance(recipients, list) or len(recipients) > MAX_RECIPIENTS:
        raise InvalidInput(f"A list of at most {MAX_RECIPIENTS} addresses.", field="recipients")
    if recipients and channel.kind != Kind.EMAIL:
        raise InvalidInput("Only e-mail has recipients.", field="recipients")
    for address in recipients:
        try:
            validate_email(address)
        except ValidationError as error:
            raise InvalidInput(f"{str(address)[:80]!r} is no address.", field="recipients") from error


def described(channel: NotificationChannel) -> dict[str, Any]:
    """What the audit log shows of a channel: the host of its URL, no secret."""
    values = {name: getattr(channel, name) for name in ("kind", "place", *EDITABLE[:4])}
    return values | {name: str(found) if (found := getattr(channel, name)) else None for name in NARROWING}


def test_channel(*, channel: NotificationChannel, actor: Actor, source: Source) -> int | None:
    """Send a test message now; it is over at once, and nothing is tried again. Returns what the server answered.
    Raises DeliveryFailed, which is also written down."""
    error: ControlPlaneError | None = None
    status = None
    try:
        status = sending.deliver(channel, _test_message())
    except ControlPlaneError as failure:
        error = failure
    now, text = timezone.now(), str(error or "")[:500]
    changed = {"failed_at": now, "last_error": text} if error else {"worked_at": now, "last_error": ""}
    with transaction.atomic():
        NotificationChannel.objects.filter(pk=channel.pk).update(**changed)
        audit.record(
            "notification_channel.test", actor=actor, source=source, target=channel,
            outcome="failure" if error else "success", after={"error": text} if error else None,
        )  # fmt: skip
    if error:
        raise error
    return status


def _test_message() -> Message:
    now = timezone.now()
    rule = AlertRule(slug="test", name="Test message", scope="fleet", metric="test", comparison=">", threshold=0)
    alert = Alert(
        rule=rule, subject="fleet", subject_label="fleet", severity=Severity.INFO, value=1, state="resolved",
        summary="This is a test: messages arrive.", created_at=now, fired_at=now, resolved_at=now,
    )  # fmt: skip
    return Message(str(uuid.uuid4()), rule, [Item(alert, Delivery.Event.RESOLVED)])
