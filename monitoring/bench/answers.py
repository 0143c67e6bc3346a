"""How long those wait who ask how a fleet is: for health, for Prometheus' pages, for the boards; and how long one
evaluation of all alert rules takes. What is asked is asked by its address: some of it is other apps'."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from monitoring.alerts import rules
from monitoring.alerts.evaluate import evaluate
from monitoring.bench import boards
from monitoring.bench.fleet import BY, Fleet
from monitoring.health import look_at
from monitoring.models import AlertRule
from tenants.api_keys import create_api_key
from tenants.exceptions import ControlPlaneError
from tenants.models.access import Scope

Row = dict[str, Any]
# Of everything but health, of which there are as many as are asked for.
CALLS = 5
HEALTH_MS, METRICS_MS, BOARD_MS = 100, 1_000, 500
# Beat evaluates every 15 s: a third of that leaves room.
EVALUATION_MS = 5_000
# /metrics keeps its readings for 5 s; after that they are read anew.
KEPT_SECONDS = 5.2


@contextmanager
def asking() -> Iterator[None]:
    """Requests of this process are answered here, whatever the control plane's settings let in."""
    rates = dict.fromkeys(("caller", "anonymous"), "1000000/min")
    with override_settings(
        ALLOWED_HOSTS=["testserver"], SECURE_SSL_REDIRECT=False, METRICS_NETWORKS=[ip_network("127.0.0.0/8")],
        REST_FRAMEWORK={**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates},
    ):  # fmt: skip
        yield


def health(fleet: Fleet, calls: int) -> list[Row]:
    """`GET /tenants/{id}/health` of a tenant that has samples and was looked at. Raises ControlPlaneError."""
    tenant = fleet.tenants[0]
    look_at(tenant)
    _, key = create_api_key(name="bench", scopes=[Scope.TENANTS_READ], **BY)
    client = Client(HTTP_AUTHORIZATION=f"Api-Key {key}")
    row = _timed("/tenants/{id}/health", lambda: _get(client, f"/api/v1/tenants/{tenant.pk}/health"), calls)
    return [{**row, "goal_ms": HEALTH_MS}]


def prometheus(fleet: Fleet, calls: int) -> list[Row]:
    """Both pages; `/metrics` as it is within the seconds that it keeps readings, and once when it reads them anew."""
    client = Client()
    kept = _timed("/metrics", lambda: _get(client, "/metrics"), min(calls, CALLS))
    time.sleep(KEPT_SECONDS)
    anew = _timed("/metrics, read anew", lambda: _get(client, "/metrics"), 1, unseen=0)
    tenants = _timed("/metrics/tenants", lambda: _get(client, "/metrics/tenants"), min(calls, CALLS))
    return [{**row, "goal_ms": METRICS_MS} for row in (kept, anew, tenants)]


def all_boards(fleet: Fleet, calls: int) -> list[Row]:
    """Every page of the admin's boards and every set of their charts."""
    paths = boards.pages(fleet.cluster.pk, fleet.tenants[0].pk)
    found = boards.measure(paths, min(calls, CALLS))
    return [{**_row(one.name, one.seconds, one.queries), "goal_ms": BOARD_MS} for one in found]


def alert_rules(fleet: Fleet, calls: int) -> list[Row]:
    """All rules that come with the product, held against the newest figures; apart the first time, as alerts begin."""
    rules.sync_shipped(**BY)
    number = AlertRule.objects.count()
    first = _timed(f"{number} rules, the first time", evaluate, 1, unseen=0)
    again = _timed(f"{number} rules", evaluate, min(calls, CALLS), unseen=0)
    return [{**row, "goal_ms": EVALUATION_MS} for row in (first, again)]


# Each is a part of the benchmark's document by its name.
ASKED: dict[str, Callable[[Fleet, int], list[Row]]] = {
    "health": health, "prometheus": prometheus, "boards": all_boards, "alert_rules": alert_rules,
}  # fmt: skip


def _get(client: Client, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise ControlPlaneError(f"{path} was answered with {answer.status_code}.", code="bench_failed")


def _timed(name: str, ask: Callable[[], Any], times: int, *, unseen: int = 1) -> Row:
    """Of so many calls, after some `unseen` that do not count."""
    for _ in range(unseen):
        ask()
    queries, seconds = 0, []

    def counting(execute: Any, *statement: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*statement)

    with connection.execute_wrapper(counting):
        for _ in range(times):
            begun = time.perf_counter()
            ask()
            seconds.append(time.perf_counter() - begun)
    return _row(name, seconds, round(queries / times))


def _row(name: str, seconds: list[float], queries: int) -> Row:
    """Times in milliseconds; the 95th percentile by nearest rank: of five calls it is the slowest."""
    ordered = sorted(seconds)
    p95 = ordered[-(-95 * len(ordered) // 100) - 1]
    return {
        "what": name, "calls": len(ordered), "queries": queries, "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p95_ms": round(p95 * 1000, 1),
    }  # fmt: skip


def ask(fleet: Fleet, calls: int, name: str) -> list[Row]:
    """One part of all. The fleet's samples are as new as they are when probes look at it."""
    boards.look(fleet.cluster.pk, [tenant.pk for tenant in fleet.tenants], timezone.now())
    with asking():
        return ASKED[name](fleet, calls)
