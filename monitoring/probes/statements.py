"""What tenants' statements cost, from pg_stat_statements: since the look before, and the worst of one tenant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from monitoring.probes.counters import all_grown
from monitoring.probes.link import Link, linked
from tenants.models import Tenant

BLOCK = 8192
MISSING = "pg_stat_statements is not installed in this database: CREATE EXTENSION pg_stat_statements SCHEMA extensions."
# Not loaded at the server's start; or its functions or schema are closed to the login.
_UNAVAILABLE = (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege)
_LITERAL = re.compile(
    r"""("[^"]*")|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(\w*)\$.*?\$\2\$|(?<![\w$."])\d+(?:\.\d+)?(?!\w)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Counted:
    """Counters of one statement of one login, since the server began to count it."""

    schema_name: str
    key: str
    calls: int
    total_ms: float
    max_ms: float
    rows: int
    temp_blocks: int
    blocks_hit: int
    blocks_read: int

    def counters(self) -> list[float]:
        """All that only grow."""
        return [self.calls, self.total_ms, self.rows, self.temp_blocks, self.blocks_hit, self.blocks_read]


@dataclass(frozen=True)
class Schema:
    """Where the extension is."""

    nspname: str


@dataclass(frozen=True)
class Statements:
    """What all tenants' statements cost since the look before: sums of `Counted.counters()` by schema, or None when
    there was none."""

    since: dict[str, list[float]] | None = None
    longest_ms: dict[str, float] = field(default_factory=dict)
    counters: dict[str, list[float]] | None = None
    unavailable: str = ""

    def of(self, schema: str) -> dict[str, Any]:
        """A tenant's, as columns of TenantActivity."""
        calls, total, rows, temp, hit, read = (self.since or {}).get(schema, [0] * 6)
        longest = self.longest_ms.get(schema)
        return {
            "calls": int(calls),
            "total_seconds": total / 1000,
            "max_seconds": None if longest is None else longest / 1000,
            "rows": int(rows),
            "temp_bytes": int(temp) * BLOCK,
            "blocks_hit": int(hit),
            "blocks_read": int(read),
        }


def read_statements(link: Link, before: Mapping[str, list[float]] | None) -> Statements:
    """By two statements. Differences are taken statement by statement: one that the server has forgotten meanwhile
    takes nothing from the others, and one that was reset or came back counts from zero."""
    try:
        found = _counted(link)
    except _UNAVAILABLE as error:
        return Statements(unavailable=f"pg_stat_statements cannot be read: {error.diag.message_primary}."[:300])
    if found is None:
        return Statements(unavailable=MISSING)
    counters: dict[str, list[float]] = {}
    since: dict[str, list[float]] = {}
    longest: dict[str, float] = {}
    for row in found:
        counters[row.key] = row.counters()
        longest[row.schema_name] = max(longest.get(row.schema_name, 0.0), row.max_ms)
        if before is not None:
            added = all_grown(row.counters(), before.get(row.key))
            so_far = since.setdefault(row.schema_name, [0.0] * len(added))
            since[row.schema_name] = [one + other for one, other in zip(so_far, added, strict=True)]
    return Statements(since if before is not None else None, longest, counters)


def _counted(link: Link) -> list[Counted] | None:
    where = link.row(Schema, "extension")
    if where is None:
        return None
    return link.rows(Counted, "statements", schema=sql.Identifier(where.nspname))


@dataclass(frozen=True)
class Statement:
    """One statement of a tenant, since the server began to count it. `text` has no literals."""

    id: str
    text: str
    calls: int
    total_seconds: float
    mean_seconds: float
    max_seconds: float
    rows: int
    temp_bytes: int
    blocks_hit: int
    blocks_read: int


def worst_statements(tenant: Tenant, limit: int = 10) -> list[Statement]:
    """The statements that took a tenant most time, asked now, by two statements. Queries and changes of rows only:
    of other statements the server keeps the literals too. Empty where the server does not count statements.

    Raises ClusterUnavailable, ClusterBusy or ClusterError.
    """
    with linked(tenant.cluster.server, seconds=5) as link:
        where = link.row(Schema, "extension")
        if where is None:
            return []
        params = {"schema_name": tenant.schema_name, "limit": limit}
        try:
            found = link.rows(Statement, "worst_statements", params, schema=sql.Identifier(where.nspname))
        except _UNAVAILABLE:
            return []
    return [Statement(**{**vars(one), "text": without_literals(one.text)}) for one in found]


def without_literals(text: str) -> str:
    """A normalised text has none; one that the server forgot while it ran it may."""
    return _LITERAL.sub(lambda found: found[1] or "…", text)
