"""How long tenants waited to be made, from the operations' history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

from monitoring.history.series import Span, bins
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
# From the request to the open login. The rules that alert start out with the same.
WARNING_SECONDS, CRITICAL_SECONDS = 8.0, 10.0
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, WARNING_SECONDS, CRITICAL_SECONDS, 15.0, 30.0, 60.0)


@dataclass(frozen=True)
class Times:
    """Of warm ones, of cold ones, or of all: how many, and seconds (None without any)."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    longest: float | None = None
    slow: int = 0
    too_slow: int = 0

    @property
    def quantiles(self) -> tuple[float | None, ...]:
        """p50, p95, p99 and the longest."""
        return self.p50, self.p95, self.p99, self.longest


@dataclass(frozen=True)
class Creations:
    """A span's provisionings that succeeded. `buckets` holds how many took up to each of `BOUNDS`, and beyond."""

    all: Times
    warm: Times
    cold: Times
    warm_buckets: list[int]
    cold_buckets: list[int]
    begin: datetime
    step: timedelta
    p50: list[float | None]
    p95: list[float | None]
    longest: list[float | None]


def times(begin: datetime, end: datetime) -> dict[str, Times]:
    """Of those asked for in between: `all`, `warm` and `cold`. One query."""
    values: dict[str, Any] = {"begin": begin, "end": end, "warning": WARNING_SECONDS, "critical": CRITICAL_SECONDS}
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["creation_times"], values)
        found = {row[0]: Times(*row[1:]) for row in cursor.fetchall()}
    return {kind: found.get(kind, Times()) for kind in ("all", "warm", "cold")}


def creations(span: Span, *, now: datetime | None = None) -> Creations:
    """Times, histogram and course of the span. Three queries."""
    now = now or timezone.now()
    begin, step, count = bins(span, now, timedelta(minutes=5), points=62)
    values: dict[str, Any] = {"begin": begin, "end": now}
    found = times(begin, now)
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["creation_histogram"], values | {"bounds": list(BOUNDS)})
        buckets = {warm: [0] * (len(BOUNDS) + 1) for warm in (True, False)}
        for warm, bucket, number in cursor.fetchall():
            buckets[warm][bucket] = number
        cursor.execute(QUERIES["creation_course"], values | {"step": step})
        course = {(at - begin) // step: row for at, *row in cursor.fetchall()}
    lines = [[course[n][which] if n in course else None for n in range(count)] for which in range(3)]
    return Creations(
        found["all"], found["warm"], found["cold"],
        buckets[True], buckets[False], begin, step, *lines,
    )  # fmt: skip
