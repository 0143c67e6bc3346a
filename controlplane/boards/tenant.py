"""A tenant's charts and figures: size, connections, statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from controlplane.boards import charts
from controlplane.boards.charts import Mark, Plot
from controlplane.boards.cluster import label_of
from controlplane.boards.shown import is_fresh, per_day, value_text
from monitoring import history, readings
from monitoring.catalogue import metric
from monitoring.health import tenant_health
from monitoring.history import SPANS, Series, Span
from monitoring.models import ProbeState, TenantActivity, TenantSize
from tenants.models import Tenant

PLOTS = (
    Plot("size", "Size", "Tables, indexes and TOAST."),
    Plot("connections", "Connections", "Sessions of its logins, and what its plan allows."),
    Plot("query_time", "Query time", "How long its statements take on average."),
    Plot("load", "Load", "Sessions busy with its statements, on average."),
    Plot("statements", "Statements", "A second."),
    Plot("cache", "Cache hit ratio", "Blocks found in the server's memory."),
)
_ACTIVITY = (
    "connections", "active", "waiting", "statement_mean_seconds", "statement_load_ratio", "statements_per_second",
    "cache_hit_ratio",
)  # fmt: skip
_SHOWN_ACTIVITY = (
    "connections", "connections_used_ratio", "active", "idle_in_transaction", "waiting", "oldest_transaction_seconds",
    "statements_per_second", "statement_mean_seconds", "statement_load_ratio", "cache_hit_ratio",
)  # fmt: skip
_SHOWN_SIZE = ("size_bytes", "quota_used_ratio", "dead_rows_ratio", "vacuum_age_seconds", "xid_age")


def draw(tenant: Tenant, span: Span, now: datetime | None = None) -> dict[str, Any]:
    """All charts by their id, by one query for each of the two kinds of samples."""
    size = history.series([metric("tenant", "size_bytes")], span, subjects=[tenant.pk], now=now)
    activity = history.series(
        [metric("tenant", name) for name in _ACTIVITY], span, subjects=[tenant.pk], now=now
    )  # fmt: skip
    limits = _limits(tenant)
    return {
        "size": charts.of_metrics(size, {"size_bytes": "size"}, "bytes", marks=limits["size"]),
        "connections": charts.of_metrics(
            activity, {"connections": "sessions", "active": "active", "waiting": "waiting"}, "count",
            marks=limits["connections"],
        ),
        "query_time": charts.of_metrics(activity, {"statement_mean_seconds": "mean"}, "seconds"),
        "load": charts.of_metrics(activity, {"statement_load_ratio": "busy sessions"}, "sessions"),
        "statements": charts.of_metrics(activity, {"statements_per_second": "statements"}, "per_second"),
        "cache": charts.of_metrics(activity, {"cache_hit_ratio": "cache hit ratio"}, "ratio"),
    }  # fmt: skip


def _limits(tenant: Tenant) -> dict[str, list[Mark]]:
    allowed = _newest(tenant, TenantActivity, "connection_limit")
    quota = _newest(tenant, TenantSize, "quota_bytes")
    return {
        "connections": [Mark(float(allowed), f"{allowed} allowed")] if allowed and allowed > 0 else [],
        "size": [Mark(float(quota), "quota")] if quota else [],
    }


def _newest(tenant: Tenant, sample: Any, column: str) -> int | None:
    rows = readings.newest(sample)
    return rows.filter(tenant_id=tenant.pk).values_list(column, flat=True).first() if rows is not None else None


@dataclass(frozen=True)
class Figures:
    """What one probe saw of it last. Without fresh ones `rows` is empty, and `taken_at` is when there last were any."""

    id: str
    title: str
    rows: list[tuple[str, str]]
    taken_at: datetime | None

    @property
    def fresh(self) -> bool:
        """Whether they are figures of now."""
        return is_fresh(self.taken_at)


def figures(tenant: Tenant) -> list[Figures]:
    """Its newest figures by probe. A constant number of queries."""
    seen = dict(
        ProbeState.objects.filter(cluster__in=[tenant.cluster_id, tenant.cluster.server.pk], ok_at__isnull=False)
        .order_by("ok_at").values_list("probe", "ok_at")
    )  # fmt: skip
    found = readings.latest_of_tenant(tenant.pk)

    def of(id: str, title: str, names: Sequence[str], sample: Any) -> Figures:
        newest = [found[name] for name in names if name in found]
        rows = [(label_of(one.metric.name), _text(one)) for one in newest]
        taken_at = min((one.taken_at for one in newest), default=None)
        if taken_at is None and not is_fresh(seen.get(readings.PROBES[sample])):
            taken_at = seen.get(readings.PROBES[sample])
        return Figures(id, title, rows, taken_at)

    size = of("size", "Size", _SHOWN_SIZE, TenantSize)
    if growth := history.growth_of(tenant.pk):
        size.rows.append((f"Growth over {growth.days} days", per_day(growth.bytes_per_day)))
    return [of("activity", "Activity", _SHOWN_ACTIVITY, TenantActivity), size]


def _text(one: readings.Reading) -> str:
    # A share that may be more than the whole: 2.5 sessions are busy.
    return (
        f"{one.value:.2f}" if one.metric.name == "statement_load_ratio" else value_text(one.value, str(one.metric.unit))
    )


@dataclass(frozen=True)
class Sparkline:
    """A line in a few pixels, for the tenant's page: SVG's paths, one for each run without a gap, and what it says."""

    id: str
    title: str
    text: str
    paths: list[str]
    dots: list[tuple[float, float]]
    said: str
    taken_at: datetime | None


def sparklines(tenant: Tenant, now: datetime | None = None) -> list[Sparkline]:
    """Size over 30 days, connections and query time over 24 hours."""
    day, month = SPANS["24h"], SPANS["30d"]
    size = history.series([metric("tenant", "size_bytes")], month, subjects=[tenant.pk], points=62, now=now)
    names = ("connections", "statement_mean_seconds")
    activity = history.series(
        [metric("tenant", name) for name in names], day, subjects=[tenant.pk], points=98, now=now
    )  # fmt: skip
    return [
        _sparkline(size, "size_bytes", "Size", month),
        _sparkline(activity, "connections", "Connections", day),
        _sparkline(activity, "statement_mean_seconds", "Query time", day),
    ]


WIDTH, HEIGHT = 120.0, 28.0


def _sparkline(series: Series, name: str, title: str, span: Span) -> Sparkline:
    line = series.line(name)
    values = line.values if line else []
    seen = [value for value in values if value is not None]
    title = f"{title}, {span.label}"
    if not seen:
        return Sparkline(name, title, "–", [], [], f"{title}: no data", series.taken_at)
    unit = str(metric("tenant", name).unit)
    low, high = min(seen), max(seen)
    points = [
        None if value is None else (WIDTH * x / max(1, len(values) - 1), _height(value, low, high))
        for x, value in enumerate(values)
    ]
    runs = _runs(points)
    said = (
        f"{title}: lowest {value_text(low, unit)}, highest {value_text(high, unit)}, last {value_text(seen[-1], unit)}"
    )
    return Sparkline(
        name, title, value_text(seen[-1], unit) if is_fresh(series.taken_at) else "–",
        ["M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs if len(run) > 1],
        [run[0] for run in runs if len(run) == 1], said, series.taken_at,
    )  # fmt: skip


def _height(value: float, low: float, high: float) -> float:
    """From the top: a line that never changes runs through the middle."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round((HEIGHT - 4) * (1 - share) + 2, 1)


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def context(tenant: Tenant) -> dict[str, Any]:
    """What its page shows beside the charts."""
    health = tenant_health(tenant=tenant)
    return {"tenant": tenant, "figures": figures(tenant), "health": health, "at": timezone.localtime()}
