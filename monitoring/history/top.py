"""Which tenants are at the top of a metric, as last seen."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from monitoring import readings
from monitoring.catalogue import Metric


@dataclass(frozen=True)
class Top:
    """One tenant's figure, and when it was taken."""

    tenant: uuid.UUID
    cluster: int
    value: float
    taken_at: datetime


def top(metric: Metric, count: int = 5, *, cluster: int | None = None) -> list[Top]:
    """The tenants with the highest figures, highest first; those whose newest one is old are left out.

    `metric` is of tenants and has a sample. Two queries, however many tenants there are.
    """
    rows = readings.newest(metric.sample) if metric.sample else None
    if rows is None:
        return []
    if cluster is not None:
        rows = rows.filter(cluster_id=cluster)
    found = rows.annotate(_value=metric.value).filter(_value__gt=0).order_by(F("_value").desc(), "tenant_id")
    return [Top(*row) for row in found.values_list("tenant_id", "cluster_id", "_value", "taken_at")[:count]]
