"""How long a sweep of a fleet takes, and how fast samples are written and rolled up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from monitoring import partitions, rollups
from monitoring.bench import answers, boards
from monitoring.bench.fleet import Fleet
from monitoring.bench.samples import invent
from monitoring.models import TenantActivity, TenantActivity5m
from monitoring.probes.activity import ActivityRow
from monitoring.sweep import OF_A_SERVER, sweep_cluster
from monitoring.writing import write
from tenants.exceptions import ControlPlaneError

# Days that nothing else is in.
ELSEWHERE = datetime(2020, 1, 1, tzinfo=UTC)
LOOKS = 10
CHANGING = 0.1
RAW_DAYS = 2

# Further measurements of a whole fleet (answer times of pages and doors): each adds its part of the document by a name,
# rows with `what`, `queries`, `p50_ms`, `p95_ms` and `goal_ms`.
MORE: dict[str, Callable[[Fleet, int], list[dict[str, Any]]]] = {
    name: partial(answers.ask, name=name) for name in answers.ASKED
}


def sweeps(fleet: Fleet, rounds: int) -> dict[str, Any]:
    """Full sweeps, between which a tenth of the tenants change something. The first one, with nothing in memory, is
    apart. Raises ControlPlaneError when a probe fails."""
    first = _sweep(fleet)
    found = []
    for _ in range(rounds):
        fleet.change(CHANGING)
        found.append(_sweep(fleet))
    probes = {name: round(statistics.median(one["probes"][name]["ms"] for one in found)) for name in found[0]["probes"]}
    return {
        "tenants": len(fleet.tenants),
        "tables": fleet.tables,
        "first_seconds": first["seconds"],
        "median_seconds": round(statistics.median(one["seconds"] for one in found), 2),
        "slowest_seconds": max(one["seconds"] for one in found),
        "queries": max(one["queries"] for one in [first, *found]),
        "rows": found[0]["rows"],
        "median_ms": probes,
    }


def _sweep(fleet: Fleet) -> dict[str, Any]:
    begun = time.monotonic()
    outcomes = sweep_cluster(fleet.cluster, OF_A_SERVER)
    seconds = time.monotonic() - begun
    if bad := [one for one in outcomes if one.error or one.skipped]:
        raise ControlPlaneError(f"The probe {bad[0].probe} failed: {bad[0].error}", code="bench_failed")
    return {
        "seconds": round(seconds, 2),
        "queries": sum(one.queries for one in outcomes),
        "rows": sum(one.rows for one in outcomes),
        "probes": {one.probe: {"ms": one.duration_ms, "queries": one.queries} for one in outcomes},
    }


def ingest(fleet: Fleet) -> dict[str, Any]:
    """The same rows by COPY and by Django's bulk_create, in turns."""
    times: dict[str, list[float]] = {"copy": [], "bulk_create": []}
    partitions.ensure(TenantActivity, [ELSEWHERE])
    for number in range(2 * LOOKS):
        rows = _rows(fleet, ELSEWHERE + timedelta(minutes=number))
        way = "copy" if number % 2 else "bulk_create"
        begun = time.monotonic()
        with transaction.atomic():
            if way == "copy":
                write(TenantActivity, rows)
            else:
                TenantActivity.objects.bulk_create(TenantActivity(**vars(row)) for row in rows)
        times[way].append(time.monotonic() - begun)
    return {
        f"{way}_rows_per_second": round(len(fleet.tenants) / statistics.median(seconds))
        for way, seconds in times.items()
    }


def _rows(fleet: Fleet, at: datetime) -> list[ActivityRow]:
    return [
        ActivityRow(at, fleet.cluster.pk, tenant.pk, 3, 50, 1, 0, 0, 0, 1.5, 60.0, 1000 + n, 2.5, 0.25, n, 0, 9 * n, n)
        for n, tenant in enumerate(fleet.tenants)
    ]


def past(fleet: Fleet, days: int) -> dict[str, Any]:
    """Fill all tables of samples as if the fleet had been looked at for so many days (and, daily, for a year).

    Of samples as taken there are two days at most: no page asks for older ones, whose partitions are others.
    """
    begun = time.monotonic()
    tenants = [tenant.pk for tenant in fleet.tenants]
    raw_days = min(days, RAW_DAYS, settings.MONITORING_RAW_DAYS)
    rows = boards.fill(fleet.cluster.pk, tenants, now=timezone.now(), raw_days=raw_days, days=days)
    return {"days": days, "rows": sum(rows.values()), "seconds": round(time.monotonic() - begun, 1)}


def rolling(fleet: Fleet) -> dict[str, Any]:
    """Two hours of samples of all tenants into five minutes; the second time, as everything is there already."""
    begin, hours = ELSEWHERE + timedelta(days=1), 2
    end = begin + timedelta(hours=hours)
    rows = invent(
        TenantActivity, TenantActivity, cluster=fleet.cluster.pk, tenants=[tenant.pk for tenant in fleet.tenants],
        begin=begin, end=end - timedelta(minutes=1), every=timedelta(minutes=1),
    )  # fmt: skip
    seconds = []
    for _ in range(2):
        begun = time.monotonic()
        rollups.roll_up_span(TenantActivity, TenantActivity, TenantActivity5m, rollups.FIVE, begin, end)
        seconds.append(time.monotonic() - begun)
    return {
        "samples": rows,
        "samples_per_second": round(rows / seconds[0]),
        "again_samples_per_second": round(rows / seconds[1]),
        # What a minute's work on the newest five minutes is, three spans of which are made again.
        "one_span_seconds": round(seconds[1] / (hours * 12), 3),
    }
