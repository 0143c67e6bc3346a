"""How fast tenants grow: the slope of a straight line through their daily sizes, by least squares.

A difference between two days would follow whatever one VACUUM FULL or one import did on either of them. Without two
days there is no growth to speak of, so there is none.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection
from django.utils import timezone

from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
GROWTH_DAYS = 14


@dataclass(frozen=True)
class Growth:
    """Bytes a day, over how many days with figures, up to when."""

    tenant: uuid.UUID
    bytes_per_day: float
    days: int
    taken_at: datetime


def fastest_growing(
    count: int = 5, *, cluster: int | None = None, days: int = GROWTH_DAYS, now: datetime | None = None
) -> list[Growth]:
    """The tenants that grow most, fastest first. One query."""
    return _growth(None, cluster, count, days, now)


def growth_of(tenant: uuid.UUID, *, days: int = GROWTH_DAYS, now: datetime | None = None) -> Growth | None:
    """How fast a tenant grows or shrinks; None before there are two days."""
    return next(iter(_growth(tenant, None, 1, days, now)), None)


def _growth(tenant: uuid.UUID | None, cluster: int | None, count: int, days: int, now: datetime | None) -> list[Growth]:
    since = (now or timezone.now()) - timedelta(days=days)
    values = {"since": since, "tenant": tenant, "cluster": cluster, "count": count}
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["growth"], values)
        return [Growth(*row) for row in cursor.fetchall()]
