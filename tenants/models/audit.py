"""What was done, by whom."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.utils import timezone

from tenants.exceptions import ControlPlaneError


class AuditEvent(models.Model):
    """One line of the audit log. The database refuses to change, delete or truncate it.

    It holds copies of names instead of foreign keys, so that it outlives what it is about.
    """

    class Outcome(models.TextChoices):
        SUCCESS = "success"
        DENIED = "denied"
        FAILURE = "failure"

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=60)
    outcome = models.CharField(max_length=8, choices=Outcome.choices, default=Outcome.SUCCESS)
    actor_kind = models.CharField(max_length=12)
    actor_id = models.CharField(max_length=64, blank=True)
    actor_label = models.CharField(max_length=150)
    channel = models.CharField(max_length=12)
    ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    tenant_id = models.UUIDField(null=True, blank=True)
    tenant_slug = models.CharField(max_length=40, blank=True)
    target_type = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(max_length=200, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(outcome__in=["success", "denied", "failure"]), name="audit_outcome"
            )
        ]
        # Lists are newest first by (at, id), whatever they are narrowed down by, so that a page of years ago is found
        # as fast as the first one.
        indexes = [
            models.Index(fields=["at", "id"], name="audit_time"),
            models.Index(
                fields=["tenant_id", "at", "id"], name="audit_tenant_time", condition=models.Q(tenant_id__isnull=False)
            ),
            models.Index(fields=["action", "at", "id"], name="audit_action_time"),
            models.Index(fields=["actor_kind", "actor_id", "at", "id"], name="audit_actor_time"),
            models.Index(fields=["actor_label", "at", "id"], name="audit_label_time"),
            models.Index(fields=["channel", "at", "id"], name="audit_channel_time"),
            models.Index(
                fields=["outcome", "at", "id"], name="audit_outcome_time", condition=~models.Q(outcome="success")
            ),
            models.Index(
                fields=["request_id", "at", "id"], name="audit_request_time", condition=~models.Q(request_id="")
            ),
            models.Index(fields=["target_id", "at", "id"], name="audit_target_time", condition=~models.Q(target_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_label}".strip()

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ControlPlaneError("The audit log is append-only.", code="append_only", status=403)


class AuditSeal(models.Model):
    """An event's place in the chain, given to it by the sealer. As immutable as the event itself.

    `seq` has no gaps. `digest` is SHA-256 over the event, `hash` over the previous seal's hash and this row: see
    tenants/ledger/hashing.py.
    """

    seq = models.BigIntegerField(primary_key=True)
    event_id = models.BigIntegerField(unique=True)
    sealed_at = models.DateTimeField()
    digest = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["seq"]

    def __str__(self) -> str:
        return f"seal {self.seq}"


class AuditSealer(models.Model):
    """Where the sealer is: one row. Nothing here is believed by the verification.

    Events below `scan_from` are all sealed. Those up to `mark_id` will be when each transaction that was under way
    at `mark_xid` has ended (ids are given out before their transactions commit, and are committed in any order).
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    log_id = models.UUIDField()
    scan_from = models.BigIntegerField(default=1)
    mark_id = models.BigIntegerField(null=True)
    mark_xid = models.BigIntegerField(null=True)
    mark_at = models.DateTimeField(null=True)
    ran_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="audit_one_sealer")]

    def __str__(self) -> str:
        return f"sealer of {self.log_id}"


class AuditCheckpoint(models.Model):
    """What was signed: the end of the chain at one moment. The copy here serves the delivery; others are believed."""

    number = models.BigIntegerField(primary_key=True)
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    document = models.TextField()

    class Meta:
        ordering = ["-number"]
        indexes = [models.Index(fields=["seq"], name="audit_checkpoint_seq")]

    def __str__(self) -> str:
        return f"checkpoint {self.number}"


class AuditSink(models.Model):
    """How far one of the places outside has the checkpoints."""

    url = models.CharField(max_length=500, unique=True)
    delivered = models.BigIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["url"]

    def __str__(self) -> str:
        return self.url


class AuditFilter(models.Model):
    """A filter that somebody has kept under a name; `query` is what stands behind the question mark."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="audit_filter_name")]

    def __str__(self) -> str:
        return self.name


class AuditReview(models.Model):
    """Somebody has read the log from one seal to another, and says so. The log itself has it, too (`audit.review`)."""

    at = models.DateTimeField(default=timezone.now)
    from_seq = models.BigIntegerField()
    to_seq = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    reviewer_id = models.CharField(max_length=64)
    reviewer_label = models.CharField(max_length=150)
    note = models.CharField(max_length=500)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(to_seq__gte=models.F("from_seq")), name="audit_review_range")
        ]
        indexes = [models.Index(fields=["to_seq"], name="audit_review_to")]

    def __str__(self) -> str:
        return f"review of {self.from_seq} to {self.to_seq}"


class AuditVerification(models.Model):
    """What one verification of the log found."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    ok = models.BooleanField()
    full = models.BooleanField()
    from_seq = models.BigIntegerField()
    to_seq = models.BigIntegerField()
    events = models.BigIntegerField()
    checkpoints = models.IntegerField()
    findings = models.JSONField(default=list, blank=True)
    notices = models.JSONField(default=list, blank=True)
    actor_label = models.CharField(max_length=150)

    class Meta:
        ordering = ["-id"]
        permissions = [("run_auditverification", "Can have the audit log verified now")]

    def __str__(self) -> str:
        return f"verification of {self.from_seq} to {self.to_seq}"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()
