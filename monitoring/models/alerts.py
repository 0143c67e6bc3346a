"""Rules, what they found, and what became of it."""

from __future__ import annotations

from datetime import datetime

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q

from tenants.models import Cluster, Plan, Tenant

A_WEEK = 7 * 86_400


class Severity(models.TextChoices):
    """How urgent it is: look when there is time, look today, get up."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertRule(models.Model):
    """`metric comparison threshold`, for so long.

    The metric is one of monitoring.catalogue. A subject (a tenant, a cluster, the fleet) that has begun to fire goes on
    until its figure is beyond `clear_threshold`, and has been for `keep_firing_seconds`. A cluster, a plan or a tenant
    narrows whom the rule is about.

    Rules with a `shipped` key come with the product. What a person changed of one is in `edited`, and stays over
    upgrades; the rest follows them. A rule is never deleted: one that nobody wants is disabled.
    """

    class Comparison(models.TextChoices):
        GT = ">", ">"
        GE = ">=", ">="
        LT = "<", "<"
        LE = "<=", "<="
        EQ = "==", "=="

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    scope = models.CharField(max_length=8, choices=[("fleet", "fleet"), ("cluster", "cluster"), ("tenant", "tenant")])
    metric = models.CharField(max_length=60)
    comparison = models.CharField(max_length=2, choices=Comparison.choices)
    threshold = models.FloatField()
    clear_threshold = models.FloatField(
        null=True, blank=True, help_text="An alert ends beyond this figure; empty: beyond the threshold."
    )
    for_seconds = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(A_WEEK)], help_text="How long it must hold before it fires."
    )
    keep_firing_seconds = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(A_WEEK)], help_text="How long it must be over before it has ended."
    )
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    summary = models.CharField(max_length=200)
    description = models.CharField(max_length=1000, blank=True)
    runbook = models.SlugField(max_length=60, blank=True, help_text="The page in docs/runbooks/.")
    enabled = models.BooleanField(default=True)
    silenced_until = models.DateTimeField(null=True, blank=True)
    silenced_by = models.CharField(max_length=150, blank=True)
    silenced_reason = models.CharField(max_length=500, blank=True)
    shipped = models.CharField(max_length=60, blank=True, editable=False)
    edited = models.JSONField(default=list, blank=True, editable=False)
    evaluated_at = models.DateTimeField(null=True, blank=True, editable=False)
    trouble = models.CharField(
        max_length=300, blank=True, editable=False, help_text="Why the last evaluation had no figures."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["slug"]
        permissions = [("silence_alertrule", "Can silence rules and alerts")]
        constraints = [
            models.CheckConstraint(condition=Q(scope__in=["fleet", "cluster", "tenant"]), name="alertrule_scope"),
            models.CheckConstraint(
                condition=Q(severity__in=["info", "warning", "critical"]), name="alertrule_severity"
            ),
            models.CheckConstraint(
                condition=Q(comparison__in=[">", ">=", "<", "<=", "=="]), name="alertrule_comparison"
            ),
            models.UniqueConstraint(fields=["shipped"], condition=~Q(shipped=""), name="alertrule_shipped_once"),
        ]

    def __str__(self) -> str:
        return self.slug

    def is_silenced(self, now: datetime) -> bool:
        """Whether nobody is told of its alerts now."""
        return self.silenced_until is not None and self.silenced_until > now

    @property
    def condition(self) -> str:
        """In one line, as Prometheus would say it."""
        held = f" for {self.for_seconds}s" if self.for_seconds else ""
        return f"{self.scope}.{self.metric} {self.comparison} {self.threshold:.12g}{held}"


class Alert(models.Model):
    """A rule that holds for one subject.

    pending ──> firing ──> acknowledged ──> resolved
       │           └──────────────────────────^
       └──> (gone: it was over before `for_seconds` were)

    At most one that is not resolved for each rule and subject. `value` is the last figure, taken at `seen_at`; without
    newer figures the state stays, and `no_data_since` says since when there are none.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        FIRING = "firing"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    OPEN = (State.PENDING, State.FIRING, State.ACKNOWLEDGED)

    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="alerts")
    subject = models.CharField(max_length=50, help_text="fleet, cluster:… or tenant:… with its id.")
    subject_label = models.CharField(max_length=100)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    state = models.CharField(max_length=12, choices=State.choices, default=State.PENDING)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    summary = models.CharField(max_length=300, blank=True)
    description = models.CharField(max_length=1500, blank=True)
    value = models.FloatField()
    seen_at = models.DateTimeField(help_text="When the value was taken.")
    held_since = models.DateTimeField(help_text="When the first figure was taken that is beyond the threshold.")
    clear_since = models.DateTimeField(null=True, blank=True, help_text="Since when it is over, while it still fires.")
    no_data_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    fired_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    note = models.CharField(max_length=500, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=200, blank=True)
    notified_at = models.DateTimeField(
        null=True, blank=True, help_text="When channels were told that it fires; empty while it is silenced."
    )
    silenced_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]
        indexes = [models.Index(fields=["created_at", "id"], name="alert_page")]
        constraints = [
            models.UniqueConstraint(fields=["rule", "subject"], condition=~Q(state="resolved"), name="alert_open_once"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "firing", "acknowledged", "resolved"]), name="alert_state"
            ),
            models.CheckConstraint(condition=Q(state="pending") | Q(fired_at__isnull=False), name="alert_fired"),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at__isnull=True)),
                name="alert_resolved",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule.slug} of {self.subject_label}"

    def is_silenced(self, now: datetime) -> bool:
        """Whether nobody is told of it now."""
        return (self.silenced_until is not None and self.silenced_until > now) or self.rule.is_silenced(now)


class AlertTransition(models.Model):
    """One change of an alert's state, by the evaluation (`by` is empty) or a person. Each state is entered once."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="transitions")
    state = models.CharField(max_length=12, choices=Alert.State.choices)
    at = models.DateTimeField()
    value = models.FloatField()
    by = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["at", "id"]
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["alert", "state"], name="alerttransition_once")]

    def __str__(self) -> str:
        return f"{self.state} at {self.at:%Y-%m-%d %H:%M:%S}"
