"""A fleet as probes would have left it, without probes: known figures, taken when a test says."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from monitoring.bench import samples as invented
from monitoring.models import ClusterSample, FleetSample, TenantActivity, TenantSize, TenantSize5m, TenantSizeDaily


def measure(cluster: Any, tenants: Sequence[uuid.UUID], *, at: datetime | None = None, hours: float = 1.0) -> datetime:
    """Samples of every minute for these hours up to `at` (now). Returns when the last ones were taken."""
    at = at or timezone.now()
    minute = timedelta(minutes=1)
    for raw in (TenantActivity, TenantSize, ClusterSample, FleetSample):
        begin = at - minute * int(hours * 60)
        if raw is FleetSample:
            FleetSample.objects.filter(taken_at__gte=begin, taken_at__lte=at).delete()
        invented.invent(raw, raw, cluster=cluster.pk, tenants=tenants, begin=begin, end=at, every=minute)
        invented.looked(raw, None if raw is FleetSample else cluster.pk, at)
    return at


def grow(cluster: Any, tenants: Sequence[uuid.UUID], days: int = 10) -> None:
    """Sizes over five minutes of the last hours, and by day for so many days."""
    now = timezone.now()
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    five = timedelta(minutes=5)
    begin = day + five * ((now - day) // five) - timedelta(hours=3)
    for model, first, last, every in (
        (TenantSizeDaily, day - timedelta(days=days - 1), day, timedelta(days=1)),
        (TenantSize5m, begin, begin + timedelta(hours=3), five),
    ):
        invented.invent(TenantSize, model, cluster=cluster.pk, tenants=tenants, begin=first, end=last, every=every)
