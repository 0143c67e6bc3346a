"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from monitoring import health, partitions, rollups, sweep
from monitoring.alerts import evaluate as evaluation
from monitoring.alerts import retention, sending
from tenants.models import Cluster


@shared_task(name="monitoring.evaluate_alerts")
def evaluate_alerts() -> int:
    """Hold all rules against the newest figures."""
    return evaluation.evaluate().changed.total()


@shared_task(name="monitoring.send_notifications")
def send_notifications() -> int:
    """Send what is due."""
    return sending.send_due()


@shared_task(name="monitoring.forget_old_alerts")
def forget_old_alerts() -> int:
    """Remove what ended long ago."""
    return retention.forget_old(timezone.now())


@shared_task(name="monitoring.sweep_clusters")
def sweep_clusters() -> int:
    """Have every server looked at, by a message each: one that hangs keeps one worker and no other server waiting."""
    return _send(sweep.OFTEN, settings.MONITORING_INTERVAL_SECONDS)


@shared_task(name="monitoring.sweep_sizes")
def sweep_sizes() -> int:
    """The same for what is looked at less often."""
    return _send(("sizes",), settings.MONITORING_SIZES_SECONDS)


@shared_task(name="monitoring.sweep_cluster")
def sweep_cluster(cluster: int, probes: list[str]) -> None:
    """Look at one server."""
    if row := Cluster.objects.select_related("pooler").filter(pk=cluster, host_cluster=None).first():
        sweep.sweep_cluster(row, probes)


@shared_task(name="monitoring.sweep_control_plane")
def sweep_control_plane() -> None:
    """Look at the control plane itself."""
    sweep.sweep_control_plane()


@shared_task(name="monitoring.roll_up")
def roll_up() -> int:
    """Make the five minutes that are over."""
    return rollups.roll_up()


@shared_task(name="monitoring.roll_up_days")
def roll_up_days() -> int:
    """Make the days that are over."""
    return rollups.roll_up_days()


@shared_task(name="monitoring.drop_old_samples")
def drop_old_samples() -> int:
    """Drop the partitions past their time."""
    return len(partitions.drop_old(timezone.now()))


def _send(probes: tuple[str, ...], expires: float) -> int:
    rows = list(Cluster.objects.filter(host_cluster=None).values_list("pk", flat=True))
    for pk in rows:
        sweep_cluster.apply_async(args=(pk, list(probes)), expires=expires, retry=False)
    return len(rows)


@shared_task(name="monitoring.look_at_tenants")
def look_at_tenants() -> int:
    """Look at those tenants that were looked at longest ago."""
    return health.rotate()
