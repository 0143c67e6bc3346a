"""Looking at tenants on their clusters: one when that is asked for, all in turn."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import psycopg
from django.core.cache import cache
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone
from psycopg import Connection

from monitoring.models import TenantLook
from tenants.exceptions import ControlPlaneError
from tenants.health import Check, Checker, Status, checkers
from tenants.models import Tenant
from tenants.models.clusters import ClusterLogin
from tenants.postgres import connect

log = logging.getLogger(__name__)
STATEMENT_TIMEOUT_MS, LOCK_TIMEOUT_MS = 3_000, 500
# All active tenants have their turn within an hour, while they are no more than this allows.
TURN_MINUTES, MOST_A_MINUTE, SECONDS_A_MINUTE = 60, 60, 20.0
# Who was never looked at does not wait for the turn: a new tenant is known within a minute or two.
NEW_A_MINUTE = 20
LOCK_SECONDS = 60


def look_at(tenant: Tenant, *, only: Sequence[str] | None = None) -> list[Check]:
    """Look now, at everything or at `only` these, and keep what nobody knows without looking."""
    if tenant.state not in (Tenant.State.ACTIVE, Tenant.State.SUSPENDED):
        return []
    wanted = [one for one in checkers() if only is None or one.name in only]
    found = list(_attempts(tenant, wanted))
    try:
        with _session(tenant) as connection:
            found += _looks(tenant, wanted, connection)
    except ControlPlaneError as error:
        reason = f"The cluster does not let us look. {error.message}"
        found += [
            Check(one.name, Status.UNKNOWN, reason, "Look at the cluster.", taken_at=timezone.now())
            for one in wanted
            if one.look
        ]
    _keep(tenant, found)
    return found


def _session(tenant: Tenant) -> Any:
    return connect(
        tenant.cluster.dsn(ClusterLogin.Purpose.MONITOR), autocommit=True, application_name="controlplane health",
        statement_timeout_ms=STATEMENT_TIMEOUT_MS, lock_timeout_ms=LOCK_TIMEOUT_MS,
    )  # fmt: skip


def _attempts(tenant: Tenant, wanted: Iterable[Checker]) -> Iterator[Check]:
    for checker in wanted:
        if checker.attempt is not None and (check := checker.attempt(tenant)) is not None:
            yield check.but(taken_at=timezone.now())


def _looks(tenant: Tenant, wanted: Iterable[Checker], connection: Connection[Any]) -> Iterator[Check]:
    for checker in wanted:
        if checker.look is None:
            continue
        try:
            check = checker.look(tenant, connection)
        except (psycopg.Error, ControlPlaneError) as error:
            log.warning("health.look_failed", extra={"check": checker.name, "error": type(error).__name__})
            check = Check(checker.name, Status.UNKNOWN, "The server did not answer that in time or at all.",
                          "Look at the load of the cluster.")  # fmt: skip
        if check is not None:
            yield check.but(taken_at=timezone.now())


def _keep(tenant: Tenant, found: Iterable[Check]) -> None:
    kept = {one.name for one in checkers() if one.in_turn}
    rows = [
        TenantLook(
            tenant=tenant, name=check.name, taken_at=check.taken_at or timezone.now(), status=check.status,
            reason=check.reason[:500], next_step=check.next_step[:300], value=check.value, limit=check.limit,
            unit=check.unit,
        )
        for check in found
        if check.name in kept
    ]  # fmt: skip
    TenantLook.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["tenant", "name"],
        update_fields=["taken_at", "status", "reason", "next_step", "value", "limit", "unit"],
    )  # fmt: skip


def rotate() -> int:
    """Look at those active tenants that were looked at longest ago, for some seconds; beat's way in, each minute.

    Returns how many. A cluster that does not answer costs one timeout, not one for each of its tenants.
    """
    if not cache.add("controlplane:health-rotation", True, timeout=LOCK_SECONDS):
        return 0  # the last minute's is still at it
    try:
        return _rotate()
    finally:
        cache.delete("controlplane:health-rotation")


def _rotate() -> int:
    in_turn = [one for one in checkers() if one.in_turn]
    active = Tenant.objects.filter(state=Tenant.State.ACTIVE)
    most = min(MOST_A_MINUTE, math.ceil(active.count() / TURN_MINUTES))
    last = TenantLook.objects.filter(tenant=OuterRef("pk"), name="reachable").values("taken_at")
    rows = active.annotate(last=Subquery(last)).order_by(F("last").asc(nulls_first=True), "created_at")
    related = rows.select_related("plan", "cluster__host_cluster", "cluster__provisioner")
    first: list[Any] = list(related[: max(most, NEW_A_MINUTE)])
    chosen = [tenant for number, tenant in enumerate(first) if number < most or tenant.last is None]
    count, end = 0, time.monotonic() + SECONDS_A_MINUTE
    for _, group in groupby(sorted(chosen, key=lambda one: one.cluster_id), key=lambda one: one.cluster_id):
        for tenant in group:
            if time.monotonic() > end:
                return count
            found = look_at(tenant, only=_due(tenant, in_turn))
            count += 1
            if any(check.status is Status.UNKNOWN for check in found if check.name != "reachable"):
                break  # the cluster does not answer; the others of it wait for their next turn
    return count


def _due(tenant: Tenant, in_turn: Iterable[Checker]) -> list[str]:
    """Names of what is not to be left until the next turn."""
    taken = dict(TenantLook.objects.filter(tenant=tenant).values_list("name", "taken_at"))
    now = timezone.now()
    return [one.name for one in in_turn if one.name not in taken or now - taken[one.name] > one.every / 2]
