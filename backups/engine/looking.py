"""What a backup has to know of a schema, in two messages: which tables there are; with these locked, all the rest.

A small tenant's backup is mostly waiting for the server, so nothing is asked alone that can be asked along.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups.engine import catalog
from backups.engine.catalog import QUERIES, Relation, Rows
from backups.engine.errors import SchemaChanged
from backups.engine.manifest import SequenceState
from tenants.schemas.compiler import ask_fingerprints

ATTEMPTS = 3
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True)
class View:
    """The snapshot: what the schema holds in it, and what the server said when it was taken. `activity` was counted
    before: what comes in between looks like a change afterwards, never like none."""

    relations: list[Relation]
    tables: list[Rows]
    fingerprint: str
    series: list[str]
    sequences: list[SequenceState]
    extensions: list[list[str]]
    activity: str | None
    lsn: str
    at: datetime
    recovering: bool
    encoding: str
    block: int


def glance(connection: Connection[Any], schema: str) -> tuple[list[Relation], str | None]:
    """Which relations there are (without sizes), and what the server has counted of their rows. Raises NotFound,
    NotCovered."""
    with connection.pipeline():
        there = connection.execute(QUERIES["namespace"], [schema], prepare=True)
        rows = catalog.ask_relations(connection, schema, sizes=False)
        counted = catalog.ask_activity(connection, schema)
    row = counted.fetchone()
    return catalog.relations_in(schema, there, rows), row[0] if row else None


def look(connection: Connection[Any], schema: str, lock_timeout_ms: int) -> View:
    """Begin the transaction of the backup: every table locked against DDL before its snapshot is taken, so that what
    the catalog says in it stays true. Raises SchemaChanged when tables come and go faster than that."""
    for _ in range(ATTEMPTS):
        seen, activity = glance(connection, schema)
        try:
            if (view := _locked(connection, schema, seen, activity, lock_timeout_ms)) is not None:
                return view
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject):
            pass  # one is gone already
        connection.execute("ROLLBACK")
    raise SchemaChanged(f"The tables of {schema} change while its backup begins.", hint="It will be tried again.")


def _locked(
    connection: Connection[Any], schema: str, seen: list[Relation], activity: str | None, lock_timeout_ms: int
) -> View | None:
    """What there is once the tables that were `seen` are locked; None when that is something else by now."""
    names = [sql.SQL("ONLY {}").format(sql.Identifier(schema, r.name)) for r in seen if r.kind in ("r", "p")]
    with connection.pipeline():
        connection.execute(BEGIN)
        if names:
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(lock_timeout_ms))
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(names)))
        there = connection.execute(QUERIES["namespace"], [schema], prepare=True)  # the snapshot is taken here
        rows = catalog.ask_relations(connection, schema)
        snapshot = connection.execute(QUERIES["snapshot"], prepare=True)
        hashed = ask_fingerprints(connection, [schema])
        columns = catalog.ask_columns(connection, seen)
        marked = catalog.ask_marks(connection, seen)
        extensions = connection.execute(QUERIES["extensions"], prepare=True)
        positions = catalog.ask_sequences(connection, schema, seen)
    now = catalog.relations_in(schema, there, rows)
    if now != seen:
        return None
    lsn, at, recovering, encoding, block = snapshot.fetchall()[0]
    has = [list(row) for row in extensions.fetchall()]
    tables = catalog.rows_of(connection, now, columns, block, catalog.hypertables(connection, schema, has))
    return View(
        now, tables, dict(hashed.fetchall()).get(schema, ""), list(catalog.marks_in(marked)),
        catalog.sequences_in(positions), has, activity, lsn, at, recovering, encoding, block,
    )  # fmt: skip
