"""A server as a whole: sessions, transactions, write-ahead log, replicas, checkpoints, disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitoring.probes.counters import all_grown, grown
from monitoring.probes.link import Link
from monitoring.probes.looks import Before, Look
from monitoring.probes.pooler import PoolerFigures
from tenants.models import Cluster

# How large all databases are is looked at less often: each of their files is.
SIZE_SECONDS = 300
SETTINGS = [
    "max_connections", "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size", "max_wal_size",
    "checkpoint_timeout", "wal_level", "max_wal_senders", "archive_mode", "synchronous_commit", "fsync",
    "full_page_writes", "data_checksums", "autovacuum", "autovacuum_max_workers", "autovacuum_freeze_max_age",
    "max_locks_per_transaction", "shared_preload_libraries", "statement_timeout", "track_io_timing", "ssl",
    "password_encryption", "log_min_duration_statement", "data_directory",
]  # fmt: skip
HERE = ("localhost", "127.0.0.1", "::1")
_ADDED = ("transactions", "rollbacks", "deadlocks", "temp_bytes", "blocks_hit", "blocks_read")


@dataclass(frozen=True)
class Server:
    """All sessions, and where its write-ahead log ends."""

    connections: int
    active: int
    idle_in_transaction: int
    waiting: int
    oldest_transaction_seconds: float | None
    connection_slots: int
    xid_age: int
    wal_bytes: int | None
    in_recovery: bool
    started_at: datetime
    version: str


@dataclass(frozen=True)
class DatabaseCounters:
    """Of one database, since its statistics were last reset."""

    key: str
    transactions: int
    rollbacks: int
    deadlocks: int
    temp_bytes: int
    blocks_hit: int
    blocks_read: int

    def counters(self) -> list[int]:
        """In the order of _ADDED."""
        return [getattr(self, name) for name in _ADDED]


@dataclass(frozen=True)
class Checkpoints:
    """Since the statistics began."""

    timed: int
    requested: int


@dataclass(frozen=True)
class Replication:
    """The slowest replica, by each measure."""

    replicas: int
    seconds: float
    bytes: int | None


@dataclass(frozen=True)
class Slot:
    """A replication slot."""

    name: str
    kind: str
    active: bool
    wal_status: str
    retained_bytes: int | None


@dataclass(frozen=True)
class Setting:
    """One of the server's."""

    name: str
    value: str


@dataclass(frozen=True)
class Size:
    """Of all databases."""

    bytes: int


@dataclass(frozen=True)
class ServerRow:
    """A row of ClusterSample."""

    taken_at: datetime
    cluster_id: int
    connections: int
    connection_slots: int
    active: int
    idle_in_transaction: int
    waiting: int
    oldest_transaction_seconds: float
    span_seconds: float | None
    transactions: int | None
    rollbacks: int | None
    deadlocks: int | None
    temp_bytes: int | None
    wal_bytes: int | None
    blocks_hit: int | None
    blocks_read: int | None
    checkpoints_timed: int | None
    checkpoints_requested: int | None
    replicas: int
    replication_lag_seconds: float | None
    replication_lag_bytes: int | None
    xid_age: int
    size_bytes: int | None
    disk_total_bytes: int | None
    disk_free_bytes: int | None
    pooler_active: int | None
    pooler_waiting: int | None
    pooler_maxwait_seconds: float | None


def probe(link: Link, cluster: Cluster, at: datetime, pooler: PoolerFigures, before: Before) -> Look:
    """One look, by six statements, and a seventh every five minutes. Raises psycopg's errors."""
    [server] = link.rows(Server, "server")
    name = "checkpoints" if link.version >= 170_000 else "checkpoints_before_17"
    [checkpoints] = link.rows(Checkpoints, name)
    [replication] = link.rows(Replication, "replication")
    slots = link.rows(Slot, "slots")
    settings = {row.name: row.value for row in link.rows(Setting, "settings", {"names": SETTINGS})}
    size = _size(link, at, before.memory)
    counted = {
        "databases": {row.key: row.counters() for row in link.rows(DatabaseCounters, "database_counters")},
        "wal_bytes": server.wal_bytes, "timed": checkpoints.timed, "requested": checkpoints.requested,
    }  # fmt: skip
    added = _added(counted, before.memory.get("counters"))
    total, free = _disk(cluster, settings.get("data_directory", ""))
    row = ServerRow(
        at, cluster.pk, server.connections, server.connection_slots, server.active, server.idle_in_transaction,
        server.waiting, server.oldest_transaction_seconds or 0.0,
        (at - before.taken_at).total_seconds() if before.taken_at and before.memory.get("counters") else None,
        **{name: added[name] for name in (*_ADDED, "wal_bytes")},
        checkpoints_timed=added["timed"], checkpoints_requested=added["requested"], replicas=replication.replicas,
        replication_lag_seconds=replication.seconds if replication.replicas else None,
        replication_lag_bytes=replication.bytes, xid_age=server.xid_age, size_bytes=size["bytes"],
        disk_total_bytes=total, disk_free_bytes=free, **asdict(pooler),
    )  # fmt: skip
    facts = {
        "version": server.version, "started_at": server.started_at.isoformat(), "in_recovery": server.in_recovery,
        "settings": settings, "slots": [asdict(slot) for slot in slots],
    }  # fmt: skip
    return Look((row,), {"counters": counted, "size": size, **facts})


def _added(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, int | None]:
    """Since the look before. Each database is taken for itself: one that was dropped takes nothing from the others."""
    if before is None:
        return dict.fromkeys((*_ADDED, "wal_bytes", "timed", "requested"))
    each = [all_grown(counters, before["databases"].get(key)) for key, counters in now["databases"].items()]
    added: dict[str, int | None] = {
        name: int(sum(values)) for name, values in zip(_ADDED, zip(*each, strict=True), strict=True)
    }
    for name in ("timed", "requested"):
        added[name] = int(grown(now[name], before[name]) or 0)
    ends = now["wal_bytes"], before["wal_bytes"]
    # A position in the log, not a counter: where it is lower, another server answers.
    added["wal_bytes"] = None if None in ends or ends[0] < ends[1] else ends[0] - ends[1]
    return added


def _size(link: Link, at: datetime, memory: Mapping[str, Any]) -> dict[str, Any]:
    known = memory.get("size")
    if known and (at - datetime.fromisoformat(known["at"])).total_seconds() < SIZE_SECONDS:
        return dict(known)
    [size] = link.rows(Size, "server_size")
    return {"at": at.isoformat(), "bytes": size.bytes}


def _disk(cluster: Cluster, directory: str) -> tuple[int | None, int | None]:
    """All and free bytes, where the server's directory is on this machine."""
    host = cluster.dsn().host
    if not directory or not (host in HERE or host.startswith("/")):
        return None, None
    try:
        usage = shutil.disk_usage(directory)
    except OSError:  # it is not here after all: in a container, or behind a tunnel
        return None, None
    return usage.total, usage.free
