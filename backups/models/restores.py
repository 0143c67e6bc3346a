"""What proves backups, and what a restore set aside."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from backups.models.backups import Backup
from tenants.exceptions import Conflict
from tenants.models import Cluster, Operation, Tenant


class RestoreDrill(models.Model):
    """A backup restored into a scratch schema, compared with its snapshot and dropped.

    ``running ──► succeeded | failed``. `checks` holds what was compared and how it came out.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    backup = models.ForeignKey(Backup, on_delete=models.CASCADE, related_name="drills")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="drills")
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    operation = models.ForeignKey(Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    scratch_schema = models.CharField(max_length=63, blank=True)
    rows = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(null=True, blank=True, help_text="Of the restore itself.")
    checks = models.JSONField(default=dict, blank=True)
    error = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    dropped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        permissions = [("run_restoredrill", "Can have a backup proven by a restore")]
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=["running", "succeeded", "failed"]), name="drill_state")
        ]
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="drill_newest"),
            models.Index(fields=["tenant", "-started_at"], name="drill_of_tenant"),
            models.Index(fields=["started_at"], condition=models.Q(dropped_at__isnull=True), name="drill_not_dropped"),
        ]

    def __str__(self) -> str:
        return f"drill of {self.backup}"


class KeptSchema(models.Model):
    """A schema of a tenant beside its own: what a restore replaced, or some tables of a backup to look at.

    ::

        restoring ──► kept ──► undone          (the same switch, backwards: what is aside then is the restored one)
            │           └───┬────┘
            ▼               ▼
        (row deleted)   dropping ──► dropped   (confirmed, or `keep_until` is over)

    The row is written before anything of it exists on the cluster and `dropped` after everything is gone, so whatever
    dies in between is found. While `restoring`, `incoming_schema` is being made and `schema_name` is what the present
    one will be called. `logins` are those that were open before the switch; `template_version` is the version that the
    schema which is aside belongs to.
    """

    class State(models.TextChoices):
        RESTORING = "restoring"
        KEPT = "kept"
        UNDONE = "undone"
        DROPPING = "dropping"
        DROPPED = "dropped"

    class Kind(models.TextChoices):
        REPLACED = "replaced"
        BESIDE = "beside"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="kept_schemas")
    cluster = models.ForeignKey(
        Cluster, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Empty: it went with the tenant."
    )
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.REPLACED)
    schema_name = models.CharField(max_length=63)
    incoming_schema = models.CharField(max_length=63, blank=True)
    backup = models.ForeignKey(Backup, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    operation = models.ForeignKey(Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=12, choices=State.choices, default=State.RESTORING)
    template_version = models.PositiveIntegerField(default=0)
    logins = models.JSONField(default=list, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    keep_until = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "schema_name"], name="kept_schema_once"),
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(state__in=["restoring", "kept"], kind="replaced"),
                name="one_kept_schema",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["restoring", "kept", "undone", "dropping", "dropped"]),
                name="kept_schema_state",
            ),
            models.CheckConstraint(condition=models.Q(kind__in=["replaced", "beside"]), name="kept_schema_kind"),
        ]
        indexes = [
            models.Index(
                fields=["keep_until"],
                condition=models.Q(state__in=["kept", "undone", "dropping"]),
                name="kept_to_drop",
            ),
            models.Index(fields=["tenant", "-created_at"], name="kept_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.schema_name

    @property
    def place(self) -> Cluster:
        """The cluster that it is on. Raises Conflict when that went with its tenant."""
        if self.cluster is None:
            raise Conflict("It went with its tenant.", code="kept_gone")
        return self.cluster
