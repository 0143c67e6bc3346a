"""Backups that were taken, where they lie, and how each tenant stands."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from backups.models.storages import Storage
from tenants.models import Cluster, Operation, Tenant


class Backup(models.Model):
    """One tenant at one moment. It outlives the tenant: who that was is copied into it.

    ::

        running ──► succeeded ──► expiring ──► expired
           └──► failed

    Only `succeeded` ones can be restored. A file of it is deleted only after it has become `expiring`. It is
    `verified_at` when every byte was last read back and was right, `proven_at` when it was last restored and compared.
    `unchanged_until` is up to when the tenant is proven to have been as it is in here; `proof` is what shows that.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        EXPIRING = "expiring"
        EXPIRED = "expired"

    class Origin(models.TextChoices):
        SCHEDULED = "scheduled"
        MANUAL = "manual"
        BEFORE_RESTORE = "before_restore"
        BEFORE_PURGE = "before_purge"
        POINT_IN_TIME = "point_in_time"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="backups")
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.SET_NULL, related_name="backups")
    operation = models.ForeignKey(Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="backups")
    origin_id = models.UUIDField(help_text="The tenant's id, whatever became of it.")
    slug = models.CharField(max_length=40)
    schema_name = models.CharField(max_length=63)
    template = models.CharField(max_length=63)
    template_version = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    origin = models.CharField(max_length=16, choices=Origin.choices, default=Origin.SCHEDULED)
    note = models.CharField(max_length=500, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    pinned = models.BooleanField(default=False, help_text="Kept until somebody takes this away.")
    keep_until = models.DateTimeField(null=True, blank=True, help_text="Its own retention; empty: the policy's.")
    created_at = models.DateTimeField(default=timezone.now)
    snapshot_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    unchanged_until = models.DateTimeField(null=True, blank=True)
    lsn = models.CharField(max_length=32, blank=True)
    server_version = models.PositiveIntegerField(default=0, help_text="server_version_num")
    fingerprint = models.CharField(max_length=64, blank=True)
    format_version = models.PositiveSmallIntegerField(default=0)
    key_id = models.CharField(max_length=32, blank=True)
    tables = models.PositiveIntegerField(default=0)
    rows = models.PositiveBigIntegerField(default=0)
    raw_bytes = models.PositiveBigIntegerField(default=0)
    stored_bytes = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    proven_at = models.DateTimeField(null=True, blank=True)
    damaged_at = models.DateTimeField(null=True, blank=True, help_text="When no copy of it was whole any more.")
    error = models.CharField(max_length=500, blank=True)
    proof = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [
            ("verify_backup", "Can have a backup verified"),
            ("pin_backup", "Can keep a backup beyond its policy"),
            ("restore_backup", "Can restore a backup"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["running", "succeeded", "failed", "expiring", "expired"]),
                name="backup_state",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    origin__in=["scheduled", "manual", "before_restore", "before_purge", "point_in_time"]
                ),
                name="backup_origin",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["succeeded", "expiring", "expired"])
                | models.Q(snapshot_at__isnull=False, finished_at__isnull=False),
                name="backup_has_moment",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="backup_newest"),
            models.Index(fields=["origin_id", "-created_at", "-id"], name="backup_of_tenant"),
            models.Index(fields=["state", "-created_at", "-id"], name="backup_by_state"),
            models.Index(fields=["cluster", "-created_at"], name="backup_by_cluster"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(state="succeeded", verified_at__isnull=True),
                name="backup_to_verify",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slug} {(self.snapshot_at or self.created_at):%Y-%m-%d %H:%M:%S}"

    @property
    def restorable(self) -> bool:
        """Whether a restore would be tried with it."""
        return self.state == self.State.SUCCEEDED and self.damaged_at is None

    @property
    def throughput(self) -> float | None:
        """Raw bytes a second; None while it is not known."""
        return self.raw_bytes / self.seconds if self.seconds and self.raw_bytes else None


class BackupCopy(models.Model):
    """The files of a backup in one storage, below `prefix`.

    ::

        writing ──► stored ──► deleting ──► deleted
           │          └──► damaged ──► deleting
           └──► failed ──► deleting

    The row is written before the first file and stays until after the last is gone, so whatever dies in between is
    found. Files that the storage's lock still protects are tried again after `locked_until`.
    """

    class State(models.TextChoices):
        WRITING = "writing"
        STORED = "stored"
        DAMAGED = "damaged"
        FAILED = "failed"
        DELETING = "deleting"
        DELETED = "deleted"

    backup = models.ForeignKey(Backup, on_delete=models.CASCADE, related_name="copies")
    storage = models.ForeignKey(Storage, on_delete=models.PROTECT, related_name="copies")
    prefix = models.CharField(max_length=120)
    state = models.CharField(max_length=12, choices=State.choices, default=State.WRITING)
    primary = models.BooleanField(default=False)
    bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    stored_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-primary", "id"]
        verbose_name_plural = "backup copies"
        constraints = [
            models.UniqueConstraint(fields=["storage", "prefix"], name="prefix_once_a_storage"),
            models.CheckConstraint(
                condition=models.Q(state__in=["writing", "stored", "damaged", "failed", "deleting", "deleted"]),
                name="copy_state",
            ),
        ]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=models.Q(state__in=["writing", "failed", "deleting"]),
                name="copy_unsettled",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.storage}/{self.prefix}"


class BackupStatus(models.Model):
    """How a tenant stands: when it is next due, and its last good backup. One row a tenant, kept by the scheduler.

    `planned_at` is empty when `next_at` has to be worked out (again): for new tenants, and when a policy has changed.
    `covered_until` is up to when a good backup shows the tenant as it was; it is overdue when `overdue_at` is past.
    `failures` counts those since the last good one.
    """

    tenant = models.OneToOneField(Tenant, primary_key=True, on_delete=models.CASCADE, related_name="backup_status")
    next_at = models.DateTimeField(null=True, blank=True)
    window_ends_at = models.DateTimeField(null=True, blank=True)
    planned_at = models.DateTimeField(null=True, blank=True)
    last_backup = models.ForeignKey(Backup, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    covered_until = models.DateTimeField(null=True, blank=True)
    overdue_at = models.DateTimeField(null=True, blank=True)
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_proven_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["next_at"]
        verbose_name_plural = "backup statuses"
        indexes = [
            models.Index(fields=["next_at"], name="backup_due"),
            models.Index(fields=["overdue_at"], name="backup_overdue"),
            models.Index(fields=["since"], condition=models.Q(planned_at__isnull=True), name="backup_to_plan"),
        ]

    def __str__(self) -> str:
        return f"backups of {self.tenant_id}"
