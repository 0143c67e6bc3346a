"""Runs pg_dump and takes its text apart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.identifiers import SCHEMA_NAME
from tenants.postgres import Dsn, binary, connect, load_queries
from tenants.schemas import roles
from tenants.schemas.compiler import lexer
from tenants.schemas.compiler.sqlscript import Statement, split

DUMP_TIMEOUT_SECONDS = 1800
ROWS_PER_INSERT = 1000
_QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
_ARGUMENTS = (
    "--no-owner", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--no-security-labels",
    "--encoding=UTF8",
)  # fmt: skip
# INSERTs rather than COPY: the clone script is sent as one message.
_AS_INSERTS = ("--column-inserts", f"--rows-per-insert={ROWS_PER_INSERT}")


class DumpFailed(Exception):
    """pg_dump ended with an error; its first line is the message."""


def dump_schema(dsn: Dsn, schema: str, *, server_major: int, arguments: Iterable[str] = ()) -> str:
    """The text pg_dump writes of one schema. Raises DumpFailed."""
    program = binary("pg_dump", minimum_major=server_major)
    pattern = '"' + schema.replace('"', '""') + '"'
    environment = {**os.environ, **dsn.environment()}
    done = subprocess.run(
        [str(program), f"--schema={pattern}", *_ARGUMENTS, *arguments],
        env=environment, capture_output=True, timeout=DUMP_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DumpFailed(lines[0].removeprefix("pg_dump: "))
    return done.stdout.decode("utf-8")


def dump_statements(dsn: Dsn, schema: str, *, server_major: int, with_data: bool) -> list[Statement]:
    """What it takes to make `schema` again, without privileges and the session's settings. Raises DumpFailed."""
    arguments = ("--no-privileges", *(_AS_INSERTS if with_data else ("--schema-only",)))
    text = dump_schema(dsn, schema, server_major=server_major, arguments=arguments)
    return [statement for statement in split(text) if statement.tokens and not _is_frame(statement)]


def _is_frame(statement: Statement) -> bool:
    """What pg_dump writes around the objects: settings of the session, CREATE SCHEMA, \\restrict."""
    words = statement.keywords
    if statement.is_meta or words[:2] == ("CREATE", "SCHEMA"):
        return True
    if words[:1] == ("SET",):
        return words[1:2] not in (("DEFAULT_TABLE_ACCESS_METHOD",), ("DEFAULT_TOAST_COMPRESSION",))
    return words[:1] == ("SELECT",) and "SET_CONFIG" in words[:3]


def is_row_security(statement: Statement) -> bool:
    """Whether a dumped statement is about policies, which are ours to lay on."""
    words = statement.keywords
    if words[:2] in {("CREATE", "POLICY"), ("ALTER", "POLICY")} or words[:3] == ("COMMENT", "ON", "POLICY"):
        return True
    return words[:2] == ("ALTER", "TABLE") and words[-3:] == ("ROW", "LEVEL", "SECURITY")


def comparable(statements: Sequence[Statement], schema: str, replacement: str) -> list[str]:
    """The statements by which two clones are compared: row-level security aside, the schema's name put back."""
    return [_replace_name(statement, schema, replacement) for statement in statements if not is_row_security(statement)]


def _replace_name(statement: Statement, schema: str, replacement: str) -> str:
    # Random names are their own proof: they occur in no other meaning.
    if statement.tokens and statement.tokens[0].kind == lexer.META:
        return ""
    return statement.text.replace(schema, replacement)


def live_dump(dsn: Dsn, schema: str, *, with_data: bool) -> str:
    """pg_dump's text of a schema of the cluster's own database, read as its owner where we may be that.

    Raises TemplateRefused when there is no such schema or a part of it cannot be read.
    """
    with connect(dsn, autocommit=True) as conn, _reading(conn, schema):
        return _live_dump(conn, dsn, schema, with_data)


@contextmanager
def _reading(conn: psycopg.Connection[Any], schema: str) -> Iterator[None]:
    """A tenant's schema is read as its owner, which our login is only for as long as it reads."""
    if not SCHEMA_NAME.match(schema) or not roles.existing(conn, schema) or not _may_take_owner(conn):
        yield
        return
    roles.take_owner(conn, schema)
    try:
        yield
    finally:
        conn.execute(roles.QUERIES["release_owner"], [schema])


def _may_take_owner(conn: psycopg.Connection[Any]) -> bool:
    # The backup login may not, and reads all rows as itself.
    row = conn.execute(
        "SELECT CASE WHEN has_schema_privilege('cp', 'USAGE')"
        " THEN has_function_privilege('cp.take_owner(text)', 'EXECUTE') ELSE false END"
    ).fetchone()
    return row == (True,)


def _live_dump(conn: psycopg.Connection[Any], dsn: Dsn, schema: str, with_data: bool) -> str:
    row = conn.execute(_QUERIES["live_schema"], {"schema": schema}).fetchone()
    major = conn.info.server_version // 10_000
    if row is None:
        raise TemplateRefused(reason=f"there is no schema {schema!r} in the database {dsn.dbname!r}")
    arguments = [] if with_data else ["--schema-only"]
    if row[0] is not None:
        arguments.append(f"--role={row[0]}")
    try:
        return dump_schema(dsn, schema, server_major=major, arguments=arguments)
    except DumpFailed as error:
        raise TemplateRefused(
            reason=f"pg_dump cannot read all of the schema {sql.Identifier(schema).as_string()}: {error}",
            hint="Import it without its rows, or give the control plane's login the right to read it."
            if with_data
            else "Give the control plane's login the right to read it.",
        ) from error
