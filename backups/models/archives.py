"""Points in time: which clusters archive their WAL, and the scratch instances recovered from that."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path

from django.db import models
from django.utils import timezone

from backups.models.backups import Backup
from tenants.models import Cluster, Operation, Tenant
from tenants.models.fields import EncryptedField


class ClusterArchive(models.Model):
    """The WAL archive and the base backups of a cluster's whole server, kept by pgBackRest.

    ``restart_needed ──► active ⇄ disabled``: WAL is archived only after the server was started with `archive_mode`.
    `home` is a directory of the server's account with configuration, passwords, logs and scratch instances. `secret`
    encrypts the repository, `password` belongs to the login `cp_archive` that pgBackRest uses. `base_backups` and
    `checked_at` are what pgBackRest said last.
    """

    class State(models.TextChoices):
        RESTART_NEEDED = "restart_needed"
        ACTIVE = "active"
        DISABLED = "disabled"

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="archive")
    state = models.CharField(max_length=16, choices=State.choices, default=State.RESTART_NEEDED)
    stanza = models.CharField(max_length=63)
    home = models.CharField(max_length=200)
    repository = models.CharField(max_length=500)
    data_directory = models.CharField(max_length=500)
    socket_directory = models.CharField(max_length=200)
    port = models.PositiveIntegerField()
    programs = models.CharField(max_length=500, help_text="Where PostgreSQL's own programs of this server are.")
    os_user = models.CharField(max_length=63)
    secret = EncryptedField(editable=False)
    password = EncryptedField(editable=False)
    full_schedule = models.CharField(max_length=100, default="15 1 * * 0", help_text="Cron, in UTC.")
    diff_schedule = models.CharField(max_length=100, default="15 1 * * 1-6", help_text="Cron, in UTC.")
    keep_full = models.PositiveSmallIntegerField(default=2, help_text="Full base backups kept, with their WAL.")
    base_backups = models.JSONField(default=list, blank=True, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    attempted_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["cluster"]
        permissions = [("base_backup", "Can have a base backup of a cluster taken")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["restart_needed", "active", "disabled"]), name="archive_state"
            ),
            models.CheckConstraint(condition=models.Q(keep_full__range=(1, 99)), name="archive_keep_full"),
        ]

    def __str__(self) -> str:
        return f"archive of {self.cluster}"

    @property
    def directory(self) -> Path:
        """Its `home`."""
        return Path(self.home)

    @property
    def configuration(self) -> Path:
        """pgBackRest's file."""
        return self.directory / "pgbackrest.conf"

    @property
    def passfile(self) -> Path:
        """libpq's file with the password of `cp_archive`."""
        return self.directory / "passfile"

    @property
    def scratch(self) -> Path:
        """Where instances are recovered to."""
        return self.directory / "scratch"

    @property
    def earliest(self) -> datetime | None:
        """The first moment that can be recovered: the end of the oldest base backup."""
        ends = [each["stopped"] for each in self.base_backups]
        return datetime.fromisoformat(min(ends)) if ends else None

    @property
    def latest(self) -> datetime | None:
        """Up to when WAL was in the archive when that was last looked at; later moments are archived on demand."""
        return self.archived_at if self.base_backups else None


class Recovery(models.Model):
    """A scratch instance, recovered to one moment for one tenant.

    ``running ──► succeeded | failed``. The row is written before anything of the instance exists, and `removed_at`
    after all of it is gone, so whatever dies in between is found.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    archive = models.ForeignKey(ClusterArchive, on_delete=models.PROTECT, related_name="recoveries")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="recoveries")
    operation = models.ForeignKey(Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    backup = models.ForeignKey(Backup, null=True, blank=True, on_delete=models.SET_NULL, related_name="recoveries")
    target = models.DateTimeField(help_text="The moment.")
    dbname = models.CharField(max_length=63)
    directory = models.CharField(max_length=300)
    base_backup = models.CharField(max_length=60, blank=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        verbose_name_plural = "recoveries"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["running", "succeeded", "failed"]), name="recovery_state"
            )
        ]
        indexes = [
            models.Index(
                fields=["started_at"], condition=models.Q(removed_at__isnull=True), name="recovery_not_removed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant} at {self.target:%Y-%m-%d %H:%M:%S}"
