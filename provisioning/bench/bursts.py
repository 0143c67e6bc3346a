"""Many POSTs at once, against a full pool and an empty one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Q

from provisioning.bench.machine import CpuMeter
from provisioning.bench.ours import new_slug
from provisioning.bench.samples import Row
from tenants.models import Operation, Tenant

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 900.0
UNCOUNTED = 16


def _swarm(port: int, key: str, prefix: str, count: int, *, log_in: bool) -> dict[str, Any]:
    """Let `count` clients POST at once, from a process of their own; what it reports."""
    slugs = [f"{prefix}-{number}" for number in range(count)]
    job = {"host": "127.0.0.1", "port": port, "key": key, "slugs": slugs, "log_in": log_in}
    command = [sys.executable, "-m", "provisioning.bench.swarm"]
    done = subprocess.run(  # noqa: S603
        command, input=json.dumps(job), stdout=subprocess.PIPE, cwd=settings.BASE_DIR, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _note(row: Row, report: dict[str, Any], wanted: int) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = report["requests"]
    answered = [request["answered"] for request in requests if request["answered"] is not None]
    failed = [request for request in requests if request["status"] != wanted or request["error"]]
    row.parts["answer"] = answered
    row.facts |= {
        "all_answered_s": round(max(answered, default=0.0), 3),
        "failures": len(failed),
        "failed": sorted({f"{request['status']} {request['error']}".strip() for request in failed})[:5],
    }
    return requests


def warm(row: Row, port: int, key: str, count: int, meter: CpuMeter) -> None:
    """Every request finds a warm slot: until each tenant's login has answered.

    First a few that are not counted, as in the other rows, so that every thread has its connections.
    """
    _swarm(port, key, new_slug("first"), UNCOUNTED, log_in=True)
    meter.begin()
    report = _swarm(port, key, new_slug("warm"), count, log_in=True)
    requests = _note(row, report, 201)
    row.seconds = [request["ready"] for request in requests if request["ready"] is not None]
    row.facts |= {"all_ready_s": round(max(row.seconds, default=0.0), 3), "cpu_s": _cpu(meter, report)}


def empty(row: Row, port: int, key: str, count: int, meter: CpuMeter) -> None:
    """Every request is answered 202 and goes on in the workers: until each tenant is active."""
    prefix = new_slug("cold")
    report = _swarm(port, key, prefix, count, log_in=False)
    _note(row, report, 202)
    active, failed = _wait(prefix)
    seconds = time.monotonic() - report["begun"]
    began_at = datetime.fromtimestamp(report["began_at"], tz=UTC)
    finished = Operation.objects.filter(
        tenant__slug__startswith=prefix, kind="tenant.provision", state=Operation.State.SUCCEEDED
    ).values_list("finished_at", flat=True)
    row.seconds = [(moment - began_at).total_seconds() for moment in finished if moment]
    row.facts |= {
        "failures": row.facts["failures"] + failed,
        "all_active_s": round(seconds, 3),
        "per_second": round(active / seconds, 3),
        "cpu_s": _cpu(meter, report),
    }


def _wait(prefix: str) -> tuple[int, int]:
    """Wait until none of these tenants is being provisioned; how many are active, and how many failed."""
    tenants = Tenant.objects.filter(slug__startswith=prefix)
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        counted = tenants.aggregate(
            active=Count("pk", filter=Q(state=Tenant.State.ACTIVE)),
            open=Count("pk", filter=Q(state=Tenant.State.PROVISIONING)),
            failed=Count("pk", filter=Q(state=Tenant.State.FAILED)),
        )
        if not counted["open"]:
            return counted["active"], counted["failed"]
        if time.monotonic() > limit:
            return counted["active"], counted["failed"] + counted["open"]
        time.sleep(POLL_SECONDS)


def _cpu(meter: CpuMeter, report: dict[str, Any]) -> dict[str, float]:
    used = meter.used()
    return {**{name: seconds for name, seconds in used.items() if name != "bench"}, "client": report["cpu_s"]}
