"""What was done, by whom."""

from __future__ import annotations

from typing import Any, NoReturn

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
        indexes = [
            models.Index(fields=["-at"], name="audit_newest"),
            models.Index(fields=["tenant_id", "-id"], name="audit_of_tenant"),
            models.Index(fields=["action", "-id"], name="audit_by_action"),
            models.Index(fields=["actor_kind", "actor_id", "-id"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_label}".strip()

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ControlPlaneError("The audit log is append-only.", code="append_only", status=403)
