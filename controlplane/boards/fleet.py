"""The fleet's charts and figures. A constant number of queries, however many tenants there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone

from controlplane.boards import charts
from controlplane.boards.charts import BySubject, Mark, Plot
from controlplane.boards.shown import bytes_text, per_day, percent
from monitoring import history, readings
from monitoring.catalogue import metric
from monitoring.history import Span
from monitoring.models import ClusterSample, ProbeState, TenantActivity
from tenants.models import Cluster, Tenant

PLOTS = (
    Plot("creation", "Provisioning time", "How many tenants took how long, from the request to the open login."),
    Plot("creation_course", "Provisioning time over time"),
    Plot("slots", "Connections against the servers' limits", "Sessions as a share of each server's connection slots."),
    Plot("storage", "Storage", "All databases of each server."),
    Plot("transactions", "Transactions", "Of each server, a second."),
    Plot("operations", "Operations"),
)
LIMIT = Mark(0.8, "80 %: warning", "warning")


def draw(span: Span, now: datetime | None = None) -> dict[str, Any]:
    """All charts by their id. One query for each kind of samples, three for provisioning times."""
    now = now or timezone.now()
    made = history.creations(span, now=now)
    names = dict(Cluster.objects.filter(host_cluster=None).values_list("pk", "name"))
    of_cluster = ("connection_slots_used_ratio", "size_bytes", "transactions_per_second")
    clusters = history.series(
        [metric("cluster", name) for name in of_cluster], span, subjects=sorted(names), now=now
    )  # fmt: skip
    operations = ("operations_pending", "operations_running", "operations_stuck", "operations_failed")
    control = history.series([metric("fleet", name) for name in operations], span, now=now)
    return {
        "creation": charts.histogram(made, now),
        "creation_course": charts.course(made, now),
        "slots": BySubject(names.__getitem__, "ratio", marks=[LIMIT]).draw(clusters, "connection_slots_used_ratio"),
        "storage": BySubject(names.__getitem__, "bytes").draw(clusters, "size_bytes"),
        "transactions": BySubject(names.__getitem__, "per_second").draw(clusters, "transactions_per_second"),
        "operations": charts.of_metrics(
            control,
            {name: name.removeprefix("operations_").replace("pending", "waiting") for name in operations},
            "count",
        ),
    }


@dataclass(frozen=True)
class Row:
    """A tenant in a list of those at the top."""

    tenant: Tenant
    url: str
    text: str
    share: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Ranking:
    """The tenants at the top of something. `taken_at` is when the oldest of these figures was taken (the last day of
    `daily` ones)."""

    id: str
    title: str
    rows: list[Row]
    taken_at: datetime | None
    daily: bool = False


def rankings(count: int = 5, cluster: int | None = None) -> list[Ranking]:
    """Who is busiest, largest, nearest to its limit of connections, and grows fastest."""
    tops = {
        name: history.top(metric("tenant", name), count, cluster=cluster)
        for name in ("statement_load_ratio", "size_bytes", "connections_used_ratio")
    }
    growing = [one for one in history.fastest_growing(count, cluster=cluster) if one.bytes_per_day > 0]
    named = {one.tenant for rows in tops.values() for one in rows} | {one.tenant for one in growing}
    found = {tenant.pk: tenant for tenant in Tenant.objects.filter(pk__in=named)}
    seen = _last_seen(cluster)

    def ranking(id: str, title: str, metric_name: str, text: Any, share: bool = False) -> Ranking:
        rows = tops[metric_name]
        probe = readings.PROBES[metric("tenant", metric_name).sample or TenantActivity]
        taken_at = min((one.taken_at for one in rows), default=seen.get(probe))
        shown = [
            _row(found[one.tenant], text(one.value), one.value if share else None)
            for one in rows
            if one.tenant in found
        ]
        return Ranking(id, title, shown, taken_at)

    grown = [_row(found[one.tenant], per_day(one.bytes_per_day), None) for one in growing if one.tenant in found]
    return [
        ranking("busiest", "Busiest tenants", "statement_load_ratio", lambda value: f"{value:.2f} sessions"),
        ranking("largest", "Largest tenants", "size_bytes", bytes_text),
        ranking("limits", "Nearest to their connection limit", "connections_used_ratio", percent, share=True),
        Ranking("growing", "Growing fastest", grown, max((one.taken_at for one in growing), default=None), daily=True),
    ]


def _row(tenant: Tenant, text: str, share: float | None) -> Row:
    tone = "" if share is None else "danger" if share >= 1 else "warning" if share >= LIMIT.value else "succeeded"
    url = reverse("admin:board_tenant", args=[tenant.pk])
    return Row(tenant, url, text, None if share is None else min(100, 100 * share), tone)


def _last_seen(cluster: int | None) -> dict[str, datetime]:
    """When each probe last brought figures, of the cluster where that is longest ago."""
    states = ProbeState.objects.filter(ok_at__isnull=False, cluster__isnull=False)
    if cluster is not None:
        states = states.filter(cluster=cluster)
    found: dict[str, datetime] = {}
    for probe, ok_at in states.values_list("probe", "ok_at"):
        if ok_at is not None:
            found[probe] = min(ok_at, found.get(probe, ok_at))
    return found


@dataclass(frozen=True)
class ServerFigures:
    """A server's newest figures, however old: its page says how old they are."""

    taken_at: datetime | None
    connections: int | None = None
    connection_slots: int | None = None
    size_bytes: int | None = None

    @property
    def fresh(self) -> bool:
        """Whether they are figures of now."""
        return self.taken_at is not None and self.taken_at > timezone.now() - readings.FRESH

    @property
    def share(self) -> float | None:
        """Of the connection slots, in per cent."""
        if self.connections is None or not self.connection_slots:
            return None
        return min(100.0, 100 * self.connections / self.connection_slots)

    @property
    def tone(self) -> str:
        """The bar's colour."""
        share = self.share or 0
        return "danger" if share >= 95 else "warning" if share >= 100 * LIMIT.value else "succeeded"

    @property
    def size(self) -> str:
        """As people say it."""
        return bytes_text(self.size_bytes)


def servers() -> dict[int, ServerFigures]:
    """What is known of each server, by cluster. Two queries."""
    rows = readings.newest(ClusterSample, within=None)
    if rows is None:
        return {}
    columns = ("taken_at", "connections", "connection_slots", "size_bytes")
    return {cluster: ServerFigures(*found) for cluster, *found in rows.values_list("cluster_id", *columns)}
