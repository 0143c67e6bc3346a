"""How each probe fares: a figure is worth what is known about when it was taken."""

from __future__ import annotations

from django.db import models

from tenants.models import Cluster


class ProbeState(models.Model):
    """The last looks of one probe at one cluster (without a cluster: at the control plane itself).

    `ok_at` is the `taken_at` of the samples of the last look that succeeded: that is how the newest are found.
    """

    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="probes")
    probe = models.CharField(max_length=40)
    tried_at = models.DateTimeField()
    ok_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(default=0)
    queries = models.PositiveSmallIntegerField(default=0, help_text="Statements that the last look took.")
    rows = models.PositiveIntegerField(default=0, help_text="Rows that the last look brought.")
    unavailable = models.CharField(
        max_length=300, blank=True, help_text="What it cannot see there and why, e.g. an extension that is missing."
    )
    error = models.CharField(max_length=500, blank=True)
    memory = models.JSONField(
        default=dict, blank=True, help_text="Counters of the last look, from which the next one takes differences."
    )

    class Meta:
        ordering = ["cluster", "probe"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "probe"], name="probe_once", nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return self.probe


class ProbeCounters(models.Model):
    """Counters of a probe's last look that are too many for its state: packed, read by the next look alone."""

    state = models.OneToOneField(ProbeState, primary_key=True, on_delete=models.CASCADE, related_name="counters")
    packed = models.BinaryField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"counters of {self.state_id}"
