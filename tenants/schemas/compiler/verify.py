"""Proves that a clone script makes exact clones, by making two and taking them apart again."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.identifiers import new_schema_name
from tenants.postgres import Dsn, connect
from tenants.schemas import roles
from tenants.schemas.compiler.assemble import render
from tenants.schemas.compiler.fingerprint import catalog_rows, fingerprints
from tenants.schemas.compiler.load import message
from tenants.schemas.compiler.model import Draft
from tenants.schemas.compiler.pgdump import comparable, dump_statements
from tenants.schemas.compiler.scratch import QUERIES, STATEMENT_TIMEOUT_MS, Scratch, create_clone_roles
from tenants.schemas.compiler.sqlscript import Statement
from tenants.schemas.timeseries import initial_partitions

_DIFF_LINES = 12


class ReplayFailed(Exception):
    """The clone script did not run; `sqlstate` and the server's message say why."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(message(error))
        self.sqlstate = error.sqlstate


def prove(
    scratch: Scratch, script: str, reference: Sequence[Statement], draft: Draft, marker: str, *, with_data: bool
) -> str:
    """The fingerprint of clones made by `script`.

    Two clones must have equal fingerprints and equal dumps, and what pg_dump writes of them, rows and sequences
    included, must equal `reference`. Raises ReplayFailed, or TemplateRefused with the first differences.
    """
    first, second = names = [f"{scratch.name}_{secrets.token_hex(3)}" for _ in range(2)]
    for name in names:
        create_clone_roles(scratch, name)
    with scratch.session() as conn:
        for name in names:
            _replay(conn, render(script, marker, name), name)
        prints = fingerprints(conn, names)
        if prints[first] != prints[second]:
            raise _inexact(_readable(conn, first), _readable(conn, second), "two clones differ")
        _try_partitions(conn, first, draft, prints[first])
        for name in names:
            _unforce(conn, name)
    _compare(scratch, first, reference, marker, with_data=with_data)
    _compare(scratch, second, reference, marker, with_data=False)
    return prints[first]


def measure_fingerprint(script: str, marker: str, *, dsn: Dsn) -> str:
    """The fingerprint of a clone on the cluster of `dsn`, for a script that was compiled on another one (another major
    version describes the same objects in other words).

    The clone is made in the tenants' database itself, where the extensions are, and rolled back, roles included.
    Raises TemplateRefused when the script does not run there.
    """
    name = new_schema_name()
    with connect(dsn, autocommit=True, statement_timeout_ms=STATEMENT_TIMEOUT_MS) as conn:
        try:
            with conn.transaction(force_rollback=True):
                # A tenant's own roles: where the cluster is closed, only they may write functions.
                roles.create_roles(conn, name, search_path=[name])
                roles.take_owner(conn, name)
                _replay(conn, render(script, marker, name), name)
                conn.execute("RESET ROLE")
                return fingerprints(conn, [name])[name]
        except ReplayFailed as error:
            raise TemplateRefused(
                reason=f"it cannot be cloned on this cluster: {error}",
                hint="The cluster may lack an extension or be older than the template needs.",
            ) from error


def _replay(conn: psycopg.Connection[Any], script: str, name: str) -> None:
    owner = sql.Identifier(f"{name}_owner")
    try:
        with conn.transaction():
            conn.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(name), owner))
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
            conn.execute(script, prepare=False)
    except psycopg.Error as error:
        raise ReplayFailed(error) from error


def _try_partitions(conn: psycopg.Connection[Any], name: str, draft: Draft, fingerprint: str) -> None:
    """The first partitions can be made, and the fingerprint does not see them."""
    if not draft.timeseries:
        return
    statements = initial_partitions(name, draft.timeseries, datetime.now(UTC))
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{name}_owner")))
            conn.execute(statements, prepare=False)
            changed = fingerprints(conn, [name])[name] != fingerprint
    except psycopg.Error as error:
        raise TemplateRefused(
            reason=f"partitions of its time-series tables cannot be made: {message(error)}", file="template.toml"
        ) from error
    if changed:
        raise TemplateRefused(
            reason="making partitions changes more than the time-series tables themselves", file="template.toml"
        )


def _unforce(conn: psycopg.Connection[Any], name: str) -> None:
    """So that pg_dump can read the rows as the owner, whatever policies the template brought."""
    for table, *_ in conn.execute(QUERIES["tables"], {"schema": name}).fetchall():
        conn.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(name, table)))


def _compare(scratch: Scratch, name: str, reference: Sequence[Statement], marker: str, *, with_data: bool) -> None:
    clone = dump_statements(scratch.dsn, name, server_major=scratch.major, with_data=with_data)
    expected = [s for s in reference if with_data or not _is_data(s)]
    ours = comparable(expected, marker, marker)
    theirs = [text for text in comparable(clone, name, marker) if "ts_insert_blocker" not in text]
    if ours != theirs:
        raise _inexact(ours, theirs, "a clone differs from the template")


def _is_data(statement: Statement) -> bool:
    """What only a dump with rows has: rows, positions of sequences, refreshes of materialized views."""
    words = statement.keywords
    if words[:1] == ("INSERT",) or words[:3] == ("REFRESH", "MATERIALIZED", "VIEW"):
        return True
    return words[:3] == ("SELECT", "PG_CATALOG", "SETVAL")


def _readable(conn: psycopg.Connection[Any], name: str) -> list[str]:
    return [" ".join(str(part) for part in row) for row in catalog_rows(conn, name)]


def _inexact(expected: Sequence[str], found: Sequence[str], what: str) -> TemplateRefused:
    lines = difflib.unified_diff(
        [line for text in expected for line in text.splitlines()],
        [line for text in found for line in text.splitlines()],
        "template", "clone", n=0, lineterm="",
    )  # fmt: skip
    changes = [line[:200] for line in lines if not line.startswith(("---", "+++", "@@"))]
    return TemplateRefused(
        reason=f"it cannot be cloned exactly: {what}",
        statement="\n".join(changes[:_DIFF_LINES]),
        hint="Lines with - are the template's, lines with + the clone's.",
    )
