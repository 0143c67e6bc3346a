"""A tenant's schema: primitives on an open connection. Each is idempotent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from tenants.identifiers import OWNER, READ_ONLY, READ_WRITE, check_schema_name, role_name
from tenants.postgres import load_queries
from tenants.schemas.roles import as_owner, take_owner

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

# Relations dropped in one transaction. Each takes a lock for itself, its indexes and its TOAST table; at PostgreSQL's
# default of 64 locks a connection this stays far below what the lock table holds.
DROP_BATCH = 40
_KINDS = {"r": "TABLE", "p": "TABLE", "f": "FOREIGN TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}


def exists(connection: Connection[Any], schema: str) -> bool:
    """Whether the schema is there."""
    return connection.execute(QUERIES["schema_exists"], [check_schema_name(schema)]).fetchone() == (True,)


def clone(
    connection: Connection[Any],
    schema: str,
    script: str,
    *,
    then: bytes = b"",
    prove: Callable[[Connection[Any]], None],
    timeout_ms: int,
) -> None:
    """Make the schema, replay its rendered clone script and `then`, as its owner, in one transaction.

    `prove` looks at the result before the commit, and raises what the transaction shall fail with. Nothing is done when
    the schema exists: it can only be complete and proven, since all of it commits at once.
    """
    groups = sql.SQL(", ").join(sql.Identifier(role_name(schema, suffix)) for suffix in (READ_WRITE, READ_ONLY))
    names = {"schema": sql.Identifier(schema), "owner": sql.Identifier(role_name(schema, OWNER)), "groups": groups}
    with connection.transaction():
        if exists(connection, schema):
            return
        connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(timeout_ms))
        take_owner(connection, schema)
        connection.execute(sql.SQL("CREATE SCHEMA {schema} AUTHORIZATION {owner}; SET LOCAL ROLE {owner};"
                                   " GRANT USAGE ON SCHEMA {schema} TO {groups}").format(**names))  # fmt: skip
        connection.execute(script.encode())  # no parameters: one message, and every `%` in it is its own
        if then:
            connection.execute(then)
        connection.execute("RESET ROLE")
        connection.execute(QUERIES["release_owner"], [schema])
        prove(connection)


def end_users(connection: Connection[Any], schema: str) -> int:
    """End all other sessions that hold anything of the schema: of somebody who was believed dead. Returns how many."""
    row = connection.execute(QUERIES["end_schema_users"], [f'"{check_schema_name(schema)}"']).fetchone()
    return int(row[0]) if row else 0


def drop(connection: Connection[Any], schema: str, *, on_batch: Callable[[int], None] | None = None) -> None:
    """Drop the schema with all it holds, in batches that stay under the lock limit.

    Each batch is a transaction; `on_batch` hears how many relations it dropped. A schema that is gone is fine.
    """
    while exists(connection, schema):
        rows = connection.execute(QUERIES["droppable_relations"], [f'"{schema}"', DROP_BATCH]).fetchall()
        with as_owner(connection, schema):
            if len(rows) < DROP_BATCH:
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
            for kind, name in rows if len(rows) >= DROP_BATCH else ():
                drop_one = sql.SQL("DROP {} IF EXISTS {} CASCADE")
                connection.execute(drop_one.format(sql.SQL(_KINDS[kind]), sql.Identifier(schema, name)))
        if on_batch:
            on_batch(len(rows))
