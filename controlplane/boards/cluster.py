"""A cluster's charts and figures: its server as the probes see it, the probes themselves, its tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from controlplane.boards import charts
from controlplane.boards.charts import Mark, Plot
from controlplane.boards.fleet import Ranking, rankings
from controlplane.boards.shown import is_fresh, value_text
from monitoring import history, readings
from monitoring.catalogue import METRICS, Scope, metric
from monitoring.history import Series, Span
from monitoring.models import ClusterSample, ProbeState
from tenants.models import Cluster

PLOTS = (
    Plot("connections", "Connections", "Sessions on the server, and its connection slots."),
    Plot("transactions", "Transactions", "A second."),
    Plot("wal", "Write-ahead log", "Bytes a second."),
    Plot("cache", "Cache hit ratio", "Blocks found in the server's memory."),
    Plot("size", "Size", "All databases of the server."),
    Plot("lag", "Replication lag", "How far the slowest replica is behind."),
    Plot("waits", "Waits", "Sessions that wait for a lock; clients that wait in the pooler."),
    Plot("transaction_age", "Oldest transaction", "How long it has been open."),
)
# What its page says at a glance, in this order.
_SHOWN = (
    "connections", "connection_slots_used_ratio", "active", "waiting", "oldest_transaction_seconds",
    "transactions_per_second", "wal_bytes_per_second", "cache_hit_ratio", "size_bytes", "disk_used_ratio",
    "replication_lag_seconds", "xid_age", "deadlocks", "temp_bytes", "pooler_waiting", "pooler_maxwait_seconds",
)  # fmt: skip
_LABELS = {
    "connection_slots_used_ratio": "Connection slots used", "oldest_transaction_seconds": "Oldest transaction",
    "transactions_per_second": "Transactions a second", "wal_bytes_per_second": "Write-ahead log a second",
    "cache_hit_ratio": "Cache hit ratio", "size_bytes": "Size", "disk_used_ratio": "Disk used",
    "replication_lag_seconds": "Replication lag", "xid_age": "Transaction-id age", "temp_bytes": "Temporary files",
    "pooler_waiting": "Clients waiting in the pooler", "pooler_maxwait_seconds": "Longest wait in the pooler",
    "waiting": "Waiting for a lock",
    # Of tenants.
    "connections_used_ratio": "Of its connection limit", "statements_per_second": "Statements a second",
    "statement_mean_seconds": "Query time, on average", "statement_load_ratio": "Busy sessions, on average",
    "quota_used_ratio": "Of its quota", "dead_rows_ratio": "Dead rows",
    "vacuum_age_seconds": "Longest without a vacuum",
}  # fmt: skip


def label_of(name: str) -> str:
    """What a metric is called on a screen."""
    return _LABELS.get(name, name.replace("_", " ").capitalize())


def draw(cluster: Cluster, span: Span, now: datetime | None = None) -> dict[str, Any]:
    """All charts by their id, by one query: they are of the same kind of samples."""
    names = [one.name for one in METRICS.values() if one.scope is Scope.CLUSTER and one.sample is ClusterSample]
    found = history.series([metric("cluster", name) for name in names], span, subjects=[cluster.pk], now=now)
    return {
        "connections": charts.of_metrics(
            found, {"connections": "sessions", "active": "active"}, "count", marks=_slots(cluster)
        ),
        "transactions": charts.of_metrics(found, {"transactions_per_second": "transactions"}, "per_second"),
        "wal": charts.of_metrics(found, {"wal_bytes_per_second": "write-ahead log"}, "bytes_per_second"),
        "cache": charts.of_metrics(found, {"cache_hit_ratio": "cache hit ratio"}, "ratio"),
        "size": charts.of_metrics(found, {"size_bytes": "size"}, "bytes"),
        "lag": charts.of_metrics(found, {"replication_lag_seconds": "slowest replica"}, "seconds"),
        "waits": _waits(found),
        "transaction_age": charts.of_metrics(found, {"oldest_transaction_seconds": "oldest transaction"}, "seconds"),
    }


def _waits(found: Series) -> dict[str, Any]:
    return charts.of_metrics(found, {"waiting": "sessions", "pooler_waiting": "clients in the pooler"}, "count")


def _slots(cluster: Cluster) -> list[Mark]:
    rows = readings.newest(ClusterSample, within=None)
    slots = rows.filter(cluster_id=cluster.pk).values_list("connection_slots", flat=True).first() if rows else None
    return [Mark(float(slots), f"{slots} slots")] if slots else []


@dataclass(frozen=True)
class Figure:
    """A metric's newest value, as it is written."""

    label: str
    text: str
    help: str


@dataclass(frozen=True)
class Looks:
    """Figures that were taken together; `taken_at` may be long ago."""

    figures: list[Figure]
    taken_at: datetime | None

    @property
    def fresh(self) -> bool:
        """Whether they are figures of now: only then are they shown."""
        return is_fresh(self.taken_at)


def figures(cluster: Cluster) -> Looks:
    """What its server was like at the last look. Two queries."""
    shown = [metric("cluster", name) for name in _SHOWN]
    rows = readings.newest(ClusterSample, within=None)
    values = {f"_{one.name}": one.value for one in shown}
    row = (
        rows.filter(cluster_id=cluster.pk).annotate(**values).values("taken_at", *values).first()
        if rows is not None
        else None
    )
    if row is None:
        return Looks([], None)
    found = [
        Figure(label_of(one.name), value_text(row[f"_{one.name}"], str(one.unit)), one.help)
        for one in shown
        if row[f"_{one.name}"] is not None
    ]
    return Looks(found, row["taken_at"])


@dataclass(frozen=True)
class Probe:
    """How a probe fares: well, failing, late (no look succeeded for long), or never."""

    state: ProbeState

    @property
    def condition(self) -> str:
        """In one word."""
        if self.state.error:
            return "failing"
        return "well" if is_fresh(self.state.ok_at) else "late"

    @property
    def tone(self) -> str:
        """Its colour."""
        return {"well": "success", "failing": "danger", "late": "warning"}[self.condition]


def probes(cluster: Cluster | None) -> list[Probe]:
    """The probes of a cluster; without one, those of the control plane. One query."""
    return [Probe(state) for state in ProbeState.objects.filter(cluster=cluster).order_by("probe")]


def context(cluster: Cluster) -> dict[str, Any]:
    """What its page shows beside the charts."""
    lists: list[Ranking] = rankings(10, cluster=cluster.pk)
    return {
        "cluster": cluster,
        "looks": figures(cluster),
        "probes": probes(cluster),
        "rankings": lists,
        "at": timezone.localtime(),
    }
