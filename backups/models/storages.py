"""Where backups are kept."""

from __future__ import annotations

from django.core.validators import MaxValueValidator
from django.db import models

from tenants.models.fields import EncryptedField


class Storage(models.Model):
    """A directory or an S3-compatible bucket.

    `active ⇄ disabled` is the operator's choice: a disabled one is read from and takes no new backups. `config` says
    where it is (local: `path`; s3: `bucket`, `prefix`, `endpoint_url`, `region`, `access_key_id`, `addressing_style`),
    `secret` is the S3 secret key, encrypted. With a lock, files cannot be deleted for `lock_days`, by nobody where the
    mode is `compliance`. Bandwidth is in bytes a second for each backup, 0 without a limit. `unknown` are the first of
    `unknown_count` prefixes that were found at `listed_at` and are in no row here: shown, never deleted.
    """

    class Kind(models.TextChoices):
        LOCAL = "local"
        S3 = "s3", "S3"

    class State(models.TextChoices):
        ACTIVE = "active"
        DISABLED = "disabled"

    class Lock(models.TextChoices):
        NONE = "none"
        GOVERNANCE = "governance"
        COMPLIANCE = "compliance"

    name = models.SlugField(max_length=40, unique=True)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    state = models.CharField(max_length=12, choices=State.choices, default=State.ACTIVE)
    is_default = models.BooleanField(default=False)
    config = models.JSONField(default=dict)
    secret = EncryptedField(blank=True, editable=False)
    lock_mode = models.CharField(max_length=12, choices=Lock.choices, default=Lock.NONE)
    lock_days = models.PositiveIntegerField(default=0, validators=[MaxValueValidator(36_500)])
    bandwidth = models.PositiveBigIntegerField(default=0, help_text="Bytes a second for each backup; 0: no limit.")
    concurrency = models.PositiveIntegerField(default=4, help_text="Backups written at the same time, at most.")
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    listed_at = models.DateTimeField(null=True, blank=True, editable=False)
    unknown_count = models.PositiveIntegerField(default=0, editable=False)
    unknown = models.JSONField(default=list, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        permissions = [("test_storage", "Can have a storage tried now")]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_storage"
            ),
            models.CheckConstraint(condition=models.Q(kind__in=["local", "s3"]), name="storage_kind"),
            models.CheckConstraint(condition=models.Q(state__in=["active", "disabled"]), name="storage_state"),
            models.CheckConstraint(condition=models.Q(concurrency__range=(1, 64)), name="storage_concurrency"),
            models.CheckConstraint(
                condition=models.Q(lock_mode="none", lock_days=0)
                | models.Q(lock_mode__in=["governance", "compliance"], lock_days__range=(1, 36_500), kind="s3"),
                name="storage_lock",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> str:
        """Where it is, for people; never a secret."""
        if self.kind == self.Kind.LOCAL:
            return str(self.config.get("path", ""))
        prefix = self.config.get("prefix", "")
        return f"s3://{self.config.get('bucket', '')}/{prefix}".rstrip("/")
