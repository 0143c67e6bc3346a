"""One look at a cluster: which sessions break which rule, and their end. Two statements, however many tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from psycopg import Connection
from psycopg.rows import class_row

from tenants import audit
from tenants.actors import SYSTEM, Source
from tenants.models import Cluster, Plan, Reaper, Tenant
from tenants.models.tenants import on_server
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
REAPER = Source(channel="reaper")
YOUNGEST_MS = 100
LOCK_WAIT_MS = 1_500
# The server's own timeouts come first: only who switched them off is met by the reaper.
GRACE_MS = 500
SCHEMA_LENGTH = 22
MIGRATOR = "_mig"
# Which of a plan's limits a rule is about.
LIMITS = {
    "idle_in_transaction": "idle_in_transaction_timeout_ms",
    "statement_too_long": "statement_timeout_ms",
}


@dataclass(frozen=True)
class Candidate:
    """A session that may have to be ended, as `cp.reap_candidates` tells of it."""

    pid: int
    started: datetime
    since: datetime
    login: str
    rule: str
    age_ms: int
    foreign_object: str | None
    statement: str
    address: Any

    @property
    def schema(self) -> str:
        """The schema of its tenant."""
        return self.login[:SCHEMA_LENGTH]


@dataclass(frozen=True)
class Reaped:
    """A session that was ended, why, and what it would have been allowed."""

    candidate: Candidate
    limit_ms: int
    tenant: Tenant | None

    def as_audit(self) -> dict[str, Any]:
        """What an audit event says of it: no statement, only of which kind it was."""
        found = self.candidate
        return {
            "rule": found.rule,
            "login": found.login,
            "pid": found.pid,
            "age_ms": found.age_ms,
            "limit_ms": self.limit_ms,
            "statement": found.statement,
            "foreign_object": found.foreign_object,
            "address": str(found.address) if found.address else None,
        }


@dataclass(frozen=True)
class Look:
    """What one look led to; in `next_ms` the first of those that are still allowed will not be any more."""

    reaped: list[Reaped]
    next_ms: int | None


def reap_cluster(cluster: Cluster, connection: Connection[Any], *, databases: Sequence[str] = ()) -> Look:
    """Look once; end what breaks a rule, audit and count it. `connection` is in autocommit mode.

    `databases` are tenants' own on the same server, which are looked at by the same statement.
    """
    cursor = connection.cursor(row_factory=class_row(Candidate))
    if databases:
        candidates = cursor.execute(QUERIES["candidates_in"], [YOUNGEST_MS, list(databases)]).fetchall()
    else:
        candidates = cursor.execute(QUERIES["candidates"], [YOUNGEST_MS]).fetchall()
    if not candidates:
        return Look([], None)
    judged = _judge(cluster, candidates)
    due = [reaped for reaped in judged if reaped.candidate.age_ms >= reaped.limit_ms]
    left = [reaped.limit_ms - reaped.candidate.age_ms for reaped in judged if reaped not in due]
    ended = _end(connection, due, databases)
    if ended:
        _write_down(cluster, ended)
    return Look(ended, min(left, default=None))


def _judge(cluster: Cluster, candidates: Sequence[Candidate]) -> list[Reaped]:
    """Each candidate with what it may take, in ms; those without any limit are left out."""
    schemas = {candidate.schema for candidate in candidates}
    tenants = {
        tenant.schema_name: tenant
        for tenant in Tenant.objects.filter(on_server(cluster), schema_name__in=schemas).select_related("plan")
    }
    default = Plan.objects.filter(is_default=True).first() if schemas - tenants.keys() else None
    judged = []
    for candidate in candidates:
        tenant = tenants.get(candidate.schema)
        limits = tenant.effective_limits() if tenant else default.limits() if default else {}
        limit = _limit(candidate, limits)
        if limit is not None:
            judged.append(Reaped(candidate, limit, tenant))
    return judged


def _limit(candidate: Candidate, limits: dict[str, int]) -> int | None:
    if candidate.rule == "login_closed":
        return 0
    if candidate.rule == "lock_on_foreign":
        return LOCK_WAIT_MS
    if candidate.rule == "statement_too_long" and candidate.login.endswith(MIGRATOR):
        return None  # building an index takes as long as it takes; its window is what ends it
    limit = limits.get(LIMITS[candidate.rule])
    return None if limit is None else limit + GRACE_MS


def _end(connection: Connection[Any], due: Sequence[Reaped], databases: Sequence[str]) -> list[Reaped]:
    if not due:
        return []
    found = [reaped.candidate for reaped in due]
    which: list[Any] = [[one.pid for one in found], [one.rule for one in found], [one.since for one in found]]
    if databases:
        rows = connection.execute(QUERIES["reap_in"], [*which, list(databases)]).fetchall()
    else:
        rows = connection.execute(QUERIES["reap"], which).fetchall()
    gone, ended = {row[0] for row in rows}, []
    for reaped in due:
        if reaped.candidate.pid in gone:  # one that breaks two rules is ended once
            gone.discard(reaped.candidate.pid)
            ended.append(reaped)
    return ended


def _write_down(cluster: Cluster, ended: Sequence[Reaped]) -> None:
    with transaction.atomic():
        row, _ = Reaper.objects.select_for_update().get_or_create(cluster=cluster)
        for reaped in ended:
            rule = reaped.candidate.rule
            row.ended[rule] = row.ended.get(rule, 0) + 1
            audit.record(
                "session.reaped", actor=SYSTEM, source=REAPER, tenant=reaped.tenant,
                target=reaped.tenant or cluster, after=reaped.as_audit(), reason=rule,
            )  # fmt: skip
        row.save(update_fields=["ended"])
