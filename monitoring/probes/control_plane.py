"""The control plane itself: what waits, who works, how long ago anybody was seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db.models import Count, Min, Q

from monitoring.probes.looks import Look
from tenants import facts, seen
from tenants.ledger.sealer import lag
from tenants.models import Operation, Tenant

log = logging.getLogger(__name__)
REDIS_SECONDS = 2.0
LATELY = timedelta(hours=1)


@dataclass(frozen=True)
class FleetRow:
    """A row of FleetSample."""

    taken_at: datetime
    tenants: int
    tenants_active: int
    tenants_suspended: int
    tenants_failed: int
    operations_pending: int
    operations_running: int
    operations_stuck: int
    operations_failed: int
    oldest_pending_seconds: float
    queue_depth: int | None
    worker_seen_seconds: float | None
    beat_seen_seconds: float | None
    slots_ready: int | None
    audit_unsealed: int


def probe(at: datetime) -> Look:
    """One look at the registry and at Redis, without which the rest is still told."""
    queue, worker, beat = _redis()
    row = FleetRow(
        at, **_tenants(), **_operations(at), queue_depth=queue, worker_seen_seconds=worker, beat_seen_seconds=beat,
        slots_ready=_slots(), audit_unsealed=lag()[0],
    )  # fmt: skip
    return Look((row,), unavailable="" if queue is not None else "Redis does not answer.")


def _tenants() -> dict[str, int]:
    state = Tenant.State
    return Tenant.objects.aggregate(
        tenants=Count("pk", filter=~Q(state=state.PURGED)),
        tenants_active=Count("pk", filter=Q(state=state.ACTIVE)),
        tenants_suspended=Count("pk", filter=Q(state=state.SUSPENDED)),
        tenants_failed=Count("pk", filter=Q(state=state.FAILED)),
    )


def _operations(at: datetime) -> dict[str, Any]:
    state = Operation.State
    working = Q(state__in=(state.RUNNING, state.CANCELLING))
    open_ = Operation.objects.filter(Q(state=state.PENDING) | working)  # by the index of those that are open
    found = open_.aggregate(
        operations_pending=Count("pk", filter=Q(state=state.PENDING)),
        operations_running=Count("pk", filter=working),
        operations_stuck=Count("pk", filter=working & Q(lease_expires_at__lt=at)),
        oldest=Min("created_at", filter=Q(state=state.PENDING)),
    )
    oldest = found.pop("oldest")
    found["oldest_pending_seconds"] = max(0.0, (at - oldest).total_seconds()) if oldest else 0.0
    # Begun long before it failed, an operation is not found by when it was made.
    found["operations_failed"] = Operation.objects.filter(state=state.FAILED, finished_at__gte=at - LATELY).count()
    return found


def _redis() -> tuple[int | None, float | None, float | None]:
    """Messages that wait; seconds since a worker and beat were seen."""
    try:
        with redis.Redis.from_url(
            settings.CELERY_BROKER_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        ) as client:
            waiting = client.llen(settings.CELERY_TASK_DEFAULT_QUEUE)
        return int(waiting), seen.seconds(seen.Who.WORKER), seen.seconds(seen.Who.BEAT)
    except (redis.RedisError, OSError) as error:
        log.warning("probe.redis_away", extra={"error": type(error).__name__})
        return None, None, None


def _slots() -> int | None:
    """What provisioning tells of its pools."""
    if "cluster.pool_ready" not in facts.known():
        return None
    return int(sum(fact.value for fact in facts.collect("cluster.pool_ready")))
