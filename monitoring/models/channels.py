"""Who is told of alerts, and what they were told."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from monitoring.models.alerts import Alert, AlertRule, Severity
from tenants.models import Cluster, Plan, Tenant
from tenants.models.fields import EncryptedField


class NotificationChannel(models.Model):
    """Where messages go: addresses, or a URL (which is a secret itself with Slack), with the secret that signs them.

    It gets alerts of at least `min_severity`, and, where a cluster, a plan or a tenant is named, those of it.
    """

    class Kind(models.TextChoices):
        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook"
        SLACK = "slack", "Slack-compatible webhook"
        ALERTMANAGER = "alertmanager", "Alertmanager (API v2)"

    name = models.SlugField(max_length=40, unique=True)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    enabled = models.BooleanField(default=True)
    recipients = models.JSONField(default=list, blank=True, help_text="Addresses of e-mail.")
    place = models.CharField(max_length=200, blank=True, help_text="The URL's host, for people.")
    url = EncryptedField(blank=True, editable=False)
    secret = EncryptedField(blank=True, editable=False)
    min_severity = models.CharField(max_length=8, choices=Severity.choices, default=Severity.INFO)
    send_resolved = models.BooleanField(default=True)
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    worked_at = models.DateTimeField(null=True, blank=True, editable=False)
    failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("test_notificationchannel", "Can send a test message")]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["email", "webhook", "slack", "alertmanager"]), name="notificationchannel_kind"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """One message to one channel about one rule: all its subjects of some seconds together.

    waiting ──> sending ──> sent
       ^           ├──────> failed   (given up)
       └───────────┘                 (tried again at `due_at`)

    It takes further subjects until it is first tried (`closed_at`). Who sends has a lease: when that is over, another
    one sends it again, with the same id.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.ForeignKey(NotificationChannel, on_delete=models.CASCADE, related_name="notifications")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="notifications")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="What the server answered last.")
    error = models.CharField(max_length=500, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state__in=["waiting", "sending"]), name="notification_due"),
            models.Index(fields=["created_at"], name="notification_created"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "rule"], condition=Q(closed_at__isnull=True), name="notification_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule.slug} to {self.channel.name}"


class Delivery(models.Model):
    """That one alert fires, still fires (`repeat`, numbered) or is over, within one message."""

    class Event(models.TextChoices):
        FIRING = "firing"
        REPEAT = "repeat"
        RESOLVED = "resolved"

    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(NotificationChannel, on_delete=models.CASCADE, related_name="deliveries")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=8, choices=Event.choices)
    number = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at", "id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["alert", "channel", "event", "number"], name="delivery_once"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of {self.alert_id}"
