"""How long the admin's boards take to answer, with weeks of samples behind them."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from monitoring.bench.samples import invent, looked
from monitoring.models import (
    ClusterSample,
    ClusterSample5m,
    ClusterSampleDaily,
    FleetSample,
    FleetSample5m,
    FleetSampleDaily,
    TenantActivity,
    TenantActivity5m,
    TenantActivityDaily,
    TenantSize,
    TenantSize5m,
    TenantSizeDaily,
)
from monitoring.models.samples import Sample

_TABLES: tuple[tuple[type[Sample], type[Sample], type[Sample], timedelta], ...] = (
    (TenantActivity, TenantActivity5m, TenantActivityDaily, timedelta(minutes=1)),
    (TenantSize, TenantSize5m, TenantSizeDaily, timedelta(minutes=5)),
    (ClusterSample, ClusterSample5m, ClusterSampleDaily, timedelta(minutes=1)),
    (FleetSample, FleetSample5m, FleetSampleDaily, timedelta(minutes=1)),
)


def fill(cluster: int, tenants: Sequence[uuid.UUID], *, now: datetime, raw_days: int, days: int) -> dict[str, int]:
    """Samples of a fleet: as taken for `raw_days`, over five minutes for `days`, daily for a year. Rows by table."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    five = timedelta(minutes=5)
    rows = {}
    for raw, of_five, daily, every in _TABLES:
        for model, begin, end, step in (
            (raw, now - timedelta(days=raw_days), now, every),
            (of_five, day - timedelta(days=days), day + five * ((now - day) // five), five),
            (daily, day - timedelta(days=365), day, timedelta(days=1)),
        ):
            rows[model._meta.db_table] = invent(
                raw, model, cluster=cluster, tenants=tenants, begin=begin, end=end, every=step
            )
        newest = raw._default_manager.order_by("-taken_at").values_list("taken_at", flat=True).first()
        looked(raw, None if raw is FleetSample else cluster, newest or now)
    return rows


def look(cluster: int, tenants: Sequence[uuid.UUID], at: datetime) -> None:
    """One look of all probes at `at`: what is older than some minutes is no figure of now."""
    for raw, _, _, every in _TABLES:
        invent(raw, raw, cluster=cluster, tenants=tenants, begin=at, end=at, every=every)
        looked(raw, None if raw is FleetSample else cluster, at)


@dataclass(frozen=True)
class Answer:
    """One page: seconds of each of several calls, and how many queries each takes."""

    name: str
    seconds: list[float]
    queries: int
    bytes: int

    @property
    def median(self) -> float:
        """Of the calls, in seconds."""
        return statistics.median(self.seconds)


def pages(cluster: int, tenant: uuid.UUID) -> dict[str, str]:
    """Every page and every set of charts, by a name for the report."""
    spans = ("1h", "24h", "7d", "30d", "1y")
    boards: dict[str, tuple[str, list[Any]]] = {
        "fleet": ("admin:fleet_charts", []),
        "cluster": ("admin:board_cluster_charts", [cluster]),
        "tenant": ("admin:board_tenant_charts", [tenant]),
    }
    found = {
        "fleet: page": reverse("admin:index"),
        "fleet: refresh": reverse("admin:fleet"),
        "cluster: page": reverse("admin:board_cluster", args=[cluster]),
        "tenant: page": reverse("admin:board_tenant", args=[tenant]),
        "tenant: lines on its own page": reverse("admin:board_tenant_summary", args=[tenant]),
    }
    for board, (view, arguments) in boards.items():
        for span in spans:
            found[f"{board}: charts {span}"] = f"{reverse(view, args=arguments)}?span={span}"
    return found


def measure(paths: Mapping[str, str], times: int = 5) -> list[Answer]:
    """Ask for each as a superuser, the first call not counted. Raises RuntimeError when one fails."""
    with _visitor() as client:
        return [_measured(client, name, path, times) for name, path in paths.items()]


def _measured(client: Client, name: str, path: str, times: int) -> Answer:
    queries = 0

    def counting(execute: Any, *statement: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*statement)

    with connection.execute_wrapper(counting):
        answer = client.get(path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} was answered with {answer.status_code}.")
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        client.get(path)
        seconds.append(time.perf_counter() - began)
    return Answer(name, seconds, queries, len(answer.content))


@contextmanager
def _visitor() -> Iterator[Client]:
    users: Any = get_user_model().objects
    user = users.create_superuser(username=f"bench-{uuid.uuid4().hex[:12]}")
    try:
        client = Client()
        client.force_login(user)
        yield client
    finally:
        user.delete()
