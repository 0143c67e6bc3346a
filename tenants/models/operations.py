"""What is being done, and how far it has come."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.models.clusters import Cluster
from tenants.models.tenants import Tenant

OPEN_STATES = ("pending", "running", "cancelling")


class Operation(models.Model):
    """One piece of work on a tenant or a cluster; this row, not the message queue, is the truth about it.

    ::

        pending ──► running ──► succeeded | failed
           │           └──► cancelling ──► cancelled
           └──► cancelled

    A worker owns it by lease: it claims by compare-and-swap with a new `attempt` and beats; when the lease runs out
    anybody may claim it again. `unwinding` is set once the work is being undone, so that a second worker goes on
    undoing and never starts over.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        CANCELLING = "cancelling"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=State.choices, default=State.PENDING)
    exclusive = models.BooleanField(default=True)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="operations")
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.PROTECT, related_name="operations")
    params = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error = models.JSONField(null=True, blank=True)
    unwinding = models.JSONField(null=True, blank=True)
    progress = models.PositiveSmallIntegerField(default=0, help_text="Per cent.")
    actor_kind = models.CharField(max_length=12)
    actor_id = models.CharField(max_length=64, blank=True)
    actor_label = models.CharField(max_length=150)
    channel = models.CharField(max_length=12)
    ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [
            ("cancel_operation", "Can cancel an operation"),
            ("retry_operation", "Can try an operation again"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(exclusive=True, state__in=OPEN_STATES),
                name="one_open_exclusive_operation",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "running", "cancelling", "succeeded", "failed", "cancelled"]),
                name="operation_state",
            ),
            models.CheckConstraint(condition=models.Q(progress__lte=100), name="operation_progress"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="operation_newest"),
            models.Index(fields=["tenant", "-created_at"], name="operation_of_tenant"),
            models.Index(fields=["state", "-created_at"], name="operation_by_state"),
            models.Index(fields=["kind", "-created_at"], name="operation_by_kind"),
            models.Index(fields=["created_at"], condition=models.Q(state__in=OPEN_STATES), name="operation_open"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to do something about it."""
        return self.state in OPEN_STATES

    @property
    def seconds(self) -> float | None:
        """How long it ran, or has run so far; None when it never started."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()


class OperationStep(models.Model):
    """One idempotent step of an operation: recorded when it begins and when it ends."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=60)
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    attempt = models.PositiveIntegerField(default=1)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "name"], name="step_once"),
            models.CheckConstraint(condition=models.Q(state__in=["running", "succeeded", "failed"]), name="step_state"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None
