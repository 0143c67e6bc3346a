"""What tenants do: their sessions, who waits for whom, and their statements."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitoring.probes.link import Link
from monitoring.probes.looks import Before, Look, Subject
from monitoring.probes.statements import Statements, read_statements
from tenants.models import Cluster

# Of so many that wait it is asked whom they wait for.
MOST_WAITING = 50


@dataclass(frozen=True)
class Sessions:
    """A tenant's sessions."""

    schema_name: str
    connections: int = 0
    active: int = 0
    idle_in_transaction: int = 0
    waiting: int = 0
    oldest_transaction_seconds: float | None = None


@dataclass(frozen=True)
class Blocking:
    """So many sessions of one wait for another's; each is a tenant's schema or somebody else's login."""

    waiter: str
    blocker: str
    sessions: int
    seconds: float


@dataclass(frozen=True)
class ActivityRow:
    """A row of TenantActivity."""

    taken_at: datetime
    cluster_id: int
    tenant_id: uuid.UUID
    connections: int
    connection_limit: int
    active: int
    idle_in_transaction: int
    waiting: int
    blocking: int
    oldest_transaction_seconds: float
    span_seconds: float | None = None
    calls: int | None = None
    total_seconds: float | None = None
    max_seconds: float | None = None
    rows: int | None = None
    temp_bytes: int | None = None
    blocks_hit: int | None = None
    blocks_read: int | None = None


def probe(link: Link, cluster: Cluster, at: datetime, tenants: Mapping[str, Subject], before: Before) -> Look:
    """One look, by four statements. Raises psycopg's errors."""
    sessions = {row.schema_name: row for row in link.rows(Sessions, "sessions")}
    pairs = link.rows(Blocking, "blocking", {"most": MOST_WAITING})
    statements = read_statements(link, before.counters)
    blocking = _blocking(pairs)
    span = (at - before.taken_at).total_seconds() if before.taken_at else None
    rows = tuple(
        _row(subject, cluster, at, sessions.get(schema), blocking[schema], _since(statements, schema, span))
        for schema, subject in tenants.items()
    )
    found = {"blocking": [_shown(pair, tenants) for pair in pairs]}
    return Look(rows, found, statements.counters, statements.unavailable)


def _row(
    subject: Subject, cluster: Cluster, at: datetime, sessions: Sessions | None, blocking: int, since: dict[str, Any]
) -> ActivityRow:
    seen = sessions or Sessions(subject.schema)
    return ActivityRow(
        at, cluster.pk, subject.tenant, seen.connections, subject.connection_limit, seen.active,
        seen.idle_in_transaction, seen.waiting, blocking, seen.oldest_transaction_seconds or 0.0, **since,
    )  # fmt: skip


def _since(statements: Statements, schema: str, span: float | None) -> dict[str, Any]:
    """Null, not zero, where nobody knows."""
    if statements.unavailable or statements.since is None or not span:
        return {}
    return {"span_seconds": span, **statements.of(schema)}


def _blocking(pairs: Iterable[Blocking]) -> Counter[str]:
    """How many sessions of others wait for each tenant."""
    count: Counter[str] = Counter()
    for pair in pairs:
        if pair.waiter != pair.blocker:
            count[pair.blocker] += pair.sessions
    return count


def _shown(pair: Blocking, tenants: Mapping[str, Subject]) -> dict[str, Any]:
    """Tenants by their ids: schemas' names are not for everybody."""
    names = {
        side: str(tenants[who].tenant) if who in tenants else f"login {who}"
        for side, who in (("waiter", pair.waiter), ("blocker", pair.blocker))
    }
    return {**names, "sessions": pair.sessions, "seconds": round(pair.seconds, 1)}
