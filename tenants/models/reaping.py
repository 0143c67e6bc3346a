"""What the reaper has done on a cluster."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from tenants.models.clusters import Cluster

SILENT_AFTER = timedelta(seconds=30)


class Reaper(models.Model):
    """The watch over one cluster: when it last looked, how many sessions it has ended by which rule, what is wrong."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="reaper")
    seen_at = models.DateTimeField(null=True, editable=False)
    ended = models.JSONField(default=dict, editable=False, help_text="Sessions ended, by rule.")
    last_error = models.CharField(max_length=500, blank=True, editable=False)

    def __str__(self) -> str:
        return f"reaper of {self.cluster}"

    @property
    def is_watching(self) -> bool:
        """Whether it has looked within the last 30 s, and nothing was wrong."""
        return not self.last_error and self.seen_at is not None and self.seen_at > timezone.now() - SILENT_AFTER
