"""How closed a cluster is: always read from its catalog, never remembered.

A restore or an upgrade can open again what was closed, so the level is what the server shows now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.models import TextChoices
from psycopg import Connection

from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
SHOWN = 5


class Level(TextChoices):
    """How closed a cluster is, from least to most."""

    OPEN = "open"
    BASELINE = "baseline"
    LOCKDOWN = "lockdown"
    SEALED = "sealed"


ORDER: tuple[Level, ...] = (Level.OPEN, Level.BASELINE, Level.LOCKDOWN, Level.SEALED)

# What each level leaves open, for people. The exact list is that of the attack suite (tests/isolation/residual.toml).
STAYS_OPEN: dict[Level, tuple[str, ...]] = {
    Level.OPEN: ("Logins of any other database of the server can connect to this one.",),
    Level.BASELINE: (
        "Other tenants' rows are out of reach, but a tenant's login reads names, definitions, sizes and activity in "
        "the catalogs, may lock by number (advisory locks), and may write functions and large objects.",
    ),
    Level.LOCKDOWN: (
        "Definitions in the catalogs can be read: names of schemas, tables and columns, text of views and functions, "
        "defaults, comments, enum labels.",
        "psql's \\d of a table and \\l, and reflecting identity columns, do not work for tenants.",
    ),
    Level.SEALED: (
        "Introspection does not work for tenants: psql's \\d, ORM reflection, their own pg_dump.",
        "Names can be looked up by number (16400::regclass), a name that is known can be tested for existence, "
        "LISTEN and NOTIFY work on direct connections, a login may change its own settings and password, and "
        "CPU, disk and cache are shared.",
    ),
}


@dataclass(frozen=True)
class OpenItem:
    """One thing that is open to every login of the server, the level that closes it, and how (None: by the guard)."""

    level: Level
    kind: str
    name: str
    statement: str | None


def open_items(connection: Connection[Any]) -> list[OpenItem]:
    """Everything that is open to every login at this moment, in one query."""
    rows = connection.execute(QUERIES["open_to_public"]).fetchall()
    return [OpenItem(Level(level), kind, name, statement) for level, kind, name, statement in rows]


def reached(items: Iterable[OpenItem]) -> Level:
    """The highest level of which nothing is open, nor of those below it."""
    open_levels = {item.level for item in items}
    level = Level.OPEN
    for candidate in ORDER[1:]:
        if candidate in open_levels:
            break
        level = candidate
    return level


def up_to(level: Level) -> Sequence[Level]:
    """The levels whose measures are part of this one."""
    return ORDER[: ORDER.index(level) + 1]


def summary(items: Sequence[OpenItem]) -> list[dict[str, Any]]:
    """The open items counted by level and kind, with the first few names: what a page or a row can hold."""
    counts = Counter((item.level, item.kind) for item in items)
    return [
        {
            "level": str(level),
            "kind": kind,
            "count": count,
            "names": [i.name for i in items if (i.level, i.kind) == (level, kind)][:SHOWN],
        }
        for (level, kind), count in counts.items()
    ]
