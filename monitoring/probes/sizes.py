"""How much tenants have, and how well it is looked after."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from monitoring.probes.link import Link
from monitoring.probes.looks import Before, Look, Subject
from tenants.models import Cluster

FILES: Mapping[str, sql.Composable] = {
    "bytes": sql.SQL("f.bytes"),
    "files": sql.SQL("LEFT JOIN cp.file_sizes() AS f ON f.filenode = part.relfilenode"),
}
PAGES: Mapping[str, sql.Composable] = {
    "bytes": sql.SQL("greatest(part.relpages, 0) * current_setting('block_size')::bigint"),
    "files": sql.SQL(""),
}
ESTIMATED = (
    "Sizes are those of the last VACUUM or ANALYZE of each table: files cannot be listed here. "
    "Run prepare_cluster with a superuser."
)
# The function is missing or not for us, or acts with a login's rights that may not list files.
_NO_FILES = (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)


@dataclass(frozen=True)
class Schema:
    """A schema in the cluster's database. `never_…`, `…ed_at`: of tables that autovacuum would not leave alone."""

    schema_name: str
    table_bytes: int
    index_bytes: int
    toast_bytes: int
    tables: int
    live_rows: int
    dead_rows: int
    xid_age: int | None
    needs_vacuum: bool
    never_vacuumed: bool
    vacuumed_at: datetime | None
    needs_analyze: bool
    never_analyzed: bool
    analyzed_at: datetime | None


@dataclass(frozen=True)
class Database:
    """A tenant's own database, of which only the whole is known from outside."""

    name: str
    bytes: int
    xid_age: int


@dataclass(frozen=True)
class SizeRow:
    """A row of TenantSize."""

    taken_at: datetime
    cluster_id: int
    tenant_id: uuid.UUID
    table_bytes: int | None = None
    index_bytes: int | None = None
    toast_bytes: int | None = None
    total_bytes: int | None = None
    quota_bytes: int | None = None
    tables: int | None = None
    live_rows: int | None = None
    dead_rows: int | None = None
    xid_age: int | None = None
    vacuum_age_seconds: float | None = None
    analyze_age_seconds: float | None = None


def probe(link: Link, cluster: Cluster, at: datetime, tenants: Mapping[str, Subject], before: Before) -> Look:
    """One look, by two statements (three where files cannot be listed). Raises psycopg's errors."""
    unavailable = ""
    try:
        schemas = link.rows(Schema, "sizes", None, **FILES)
    except _NO_FILES:
        unavailable, schemas = ESTIMATED, link.rows(Schema, "sizes", None, **PAGES)
    names = [subject.own_database for subject in tenants.values() if subject.own_database]
    databases = {row.name: row for row in link.rows(Database, "databases", {"names": names})}
    rows = [
        _shared(tenants[row.schema_name], row, cluster, at) for row in schemas if _is_here(tenants, row.schema_name)
    ]
    rows += [
        _own(subject, databases[subject.own_database], cluster, at)
        for subject in tenants.values()
        if subject.own_database in databases
    ]
    return Look(tuple(rows), unavailable=unavailable)


def _is_here(tenants: Mapping[str, Subject], schema: str) -> bool:
    return schema in tenants and not tenants[schema].own_database


def _shared(subject: Subject, row: Schema, cluster: Cluster, at: datetime) -> SizeRow:
    return SizeRow(
        at, cluster.pk, subject.tenant, row.table_bytes, row.index_bytes, row.toast_bytes,
        row.table_bytes + row.index_bytes + row.toast_bytes, subject.quota_bytes, row.tables, row.live_rows,
        row.dead_rows, row.xid_age,
        _waits(row.needs_vacuum, row.never_vacuumed, row.vacuumed_at, subject, at),
        _waits(row.needs_analyze, row.never_analyzed, row.analyzed_at, subject, at),
    )  # fmt: skip


def _waits(needed: bool, never: bool, last: datetime | None, subject: Subject, at: datetime) -> float:
    """Seconds; what has never been done waits since the tenant was made, which is at least as long."""
    if not needed:
        return 0.0
    since = subject.created_at if never or last is None else last
    return max(0.0, (at - since).total_seconds())


def _own(subject: Subject, row: Database, cluster: Cluster, at: datetime) -> SizeRow:
    return SizeRow(
        at, cluster.pk, subject.tenant, total_bytes=row.bytes, quota_bytes=subject.quota_bytes, xid_age=row.xid_age
    )
