"""PgBouncer's console: reading its pools, having it read its configuration again, ending clients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import dict_row

from tenants.exceptions import ClusterUnusable
from tenants.models import Pooler
from tenants.models.poolers import CLIENTS_PER_USER, CONSOLE
from tenants.postgres import through_pooler


@dataclass(frozen=True)
class Pool:
    """One (database, login): its connections on both sides, and how long the first of its clients has waited."""

    database: str
    login: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    max_wait_seconds: float


@dataclass(frozen=True)
class Stats:
    """One database since the pooler's start: counts, bytes, and times in microseconds."""

    database: str
    transactions: int
    queries: int
    received_bytes: int
    sent_bytes: int
    transaction_us: int
    query_us: int
    wait_us: int


@dataclass(frozen=True)
class Traffic:
    """What a pooler says of itself at one moment. Its console is not among the pools."""

    version: str
    pools: list[Pool]
    stats: list[Stats]

    def summary(self) -> dict[str, Any]:
        """All pools together, in numbers for a page."""
        return {
            "pools": len(self.pools),
            "clients": sum(pool.clients_active + pool.clients_waiting for pool in self.pools),
            "waiting": sum(pool.clients_waiting for pool in self.pools),
            "servers": sum(pool.servers_active + pool.servers_idle for pool in self.pools),
            "max_wait_seconds": max((pool.max_wait_seconds for pool in self.pools), default=0.0),
            "transactions": sum(row.transactions for row in self.stats),
            "queries": sum(row.queries for row in self.stats),
        }


def read_traffic(pooler: Pooler, *, within_seconds: float | None = None) -> Traffic:
    """Version, pools and statistics, by three commands. Raises ClusterUnavailable or ClusterError."""
    dsn = pooler.dsn()
    with through_pooler(dsn, application_name="controlplane watch", within_seconds=within_seconds) as console:
        version = read_version(console)
        pools = [_pool(row) for row in _show(console, "POOLS") if row["database"] != CONSOLE]
        stats = [_stats(row) for row in _show(console, "STATS") if row["database"] != CONSOLE]
    return Traffic(version, pools, stats)


def read_version(console: Connection[Any]) -> str:
    """Such as `1.18.0`. Raises ClusterUnusable when this is no PgBouncer's console."""
    row = console.execute("SHOW VERSION").fetchone()
    found = re.match(r"PgBouncer (\d+(?:\.\d+)+)", str(row[0])) if row else None
    if found is None:
        raise ClusterUnusable("This is not the console of a PgBouncer.")
    return found[1]


def reload(pooler: Pooler) -> None:
    """Have the configuration read again; clients and their transactions go on. Raises ClusterUnavailable."""
    with through_pooler(pooler.dsn(), application_name="controlplane configure") as console:
        console.execute("RELOAD")


def kill_clients(pooler: Pooler, logins: Sequence[str]) -> int:
    """Disconnect every client of these logins. Returns how many; none where PgBouncer is too old for it (1.24)."""
    if pooler.version_info < CLIENTS_PER_USER:
        return 0
    count = 0
    with through_pooler(pooler.dsn(), application_name="controlplane end clients") as console:
        for row in _show(console, "CLIENTS"):
            if row["user"] in logins and row["database"] != CONSOLE:
                console.execute(sql.SQL("KILL_CLIENT {}").format(sql.Literal(int(row["id"]))))
                count += 1
    return count


def _show(console: Connection[Any], what: str) -> list[dict[str, Any]]:
    return console.cursor(row_factory=dict_row).execute(f"SHOW {what}".encode()).fetchall()


def _pool(row: dict[str, Any]) -> Pool:
    return Pool(
        database=row["database"],
        login=row["user"],
        clients_active=int(row["cl_active"]),
        clients_waiting=int(row["cl_waiting"]),
        servers_active=int(row["sv_active"]),
        servers_idle=int(row["sv_idle"]) + int(row["sv_used"]) + int(row["sv_tested"]),
        max_wait_seconds=int(row["maxwait"]) + int(row["maxwait_us"]) / 1e6,
    )


def _stats(row: dict[str, Any]) -> Stats:
    return Stats(
        database=row["database"],
        transactions=int(row["total_xact_count"]),
        queries=int(row["total_query_count"]),
        received_bytes=int(row["total_received"]),
        sent_bytes=int(row["total_sent"]),
        transaction_us=int(row["total_xact_time"]),
        query_us=int(row["total_query_time"]),
        wait_us=int(row["total_wait_time"]),
    )
