"""The throw-away database in which foreign SQL runs.

The SQL runs in a session of its own login, which owns the scratch database and nothing else: it has no CREATEROLE or
CREATEDB, and since it is the session's user, RESET ROLE gives it nothing. Everything made here carries the time in its
name, so that what a crash left behind can be told from what is in use.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenants.postgres import Dsn, connect, load_queries

_LOG = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
PREFIX = "cpimport_"
_NAME = re.compile(r"cpimport_([0-9]{14})_")
STATEMENT_TIMEOUT_MS = 600_000
_LIFETIME = timedelta(hours=6)
ROLE_SUFFIXES = ("owner", "rw", "ro")


@dataclass(frozen=True)
class Scratch:
    """A scratch database: its name, and how to reach it as the import login and as the control plane."""

    name: str
    dsn: Dsn
    admin: Dsn
    server_version_num: int

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.server_version_num // 10_000

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """An autocommit session of the import login in the scratch database; psycopg's errors come out unchanged."""
        options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=10000 -c client_min_messages=error"
        conninfo = self.dsn.conninfo(options=options, client_encoding="UTF8", application_name="controlplane import")
        with psycopg.connect(conninfo, autocommit=True) as conn:
            yield conn


def _scratch_name(now: datetime) -> str:
    return f"{PREFIX}{now:%Y%m%d%H%M%S}_{secrets.token_hex(5)}"


@contextmanager
def scratch_database(dsn: Dsn) -> Iterator[Scratch]:
    """A scratch database on `dsn`'s cluster for the length of the block; nothing of it remains afterwards.

    `dsn` is the control plane's login in the tenants' database, whose locale is copied. Raises ClusterError when it
    lacks CREATEDB or CREATEROLE.
    """
    name, password = _scratch_name(datetime.now(UTC)), secrets.token_urlsafe(24)
    with connect(dsn, autocommit=True, statement_timeout_ms=120_000) as admin:
        version = admin.info.server_version
        try:
            _create(admin, name, password)
            yield Scratch(name, dsn.replace(dbname=name, user=name, password=password), dsn, version)
        finally:
            _drop(admin, name)


def _create(admin: psycopg.Connection[Any], name: str, password: str) -> None:
    verifier = admin.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    role = sql.Identifier(name)
    until = sql.Literal((datetime.now(UTC) + _LIFETIME).isoformat())
    admin.execute(
        sql.SQL("CREATE ROLE {} LOGIN NOCREATEROLE NOCREATEDB CONNECTION LIMIT 20 PASSWORD {} VALID UNTIL {}").format(
            role, sql.Literal(verifier), until
        )
    )
    options = sql.SQL(" WITH INHERIT TRUE, SET TRUE") if admin.info.server_version >= 160_000 else sql.SQL("")
    admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role) + options)
    row = admin.execute(QUERIES["database_locale"]).fetchone()
    if row is None:  # pragma: no cover - the current database exists
        raise LookupError("current database")
    admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 {}").format(role, role, _locale(*row)))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))


def _locale(
    encoding: str, provider: str, collate: str, ctype: str, locale: str | None, rules: str | None
) -> sql.Composable:
    """The tenants' database's locale, so that what sorts and folds there does so here."""
    options: dict[str, str] = {"ENCODING": encoding, "LC_COLLATE": collate, "LC_CTYPE": ctype}
    if provider == "i":
        options |= {"LOCALE_PROVIDER": "icu", "ICU_LOCALE": locale or ""}
        if rules:
            options["ICU_RULES"] = rules
    elif provider == "b":
        options |= {"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": locale or ""}
    return sql.SQL(" ").join(sql.SQL(f"{key} = ") + sql.Literal(value) for key, value in options.items())


def _drop(admin: psycopg.Connection[Any], name: str) -> None:
    """Leave nothing behind, whatever happened; what still does is found by `drop_stale_scratch`."""
    try:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        roles = admin.execute(QUERIES["scratch_roles"], {"prefix": name}).fetchall()
        for (role,) in roles:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
    except psycopg.Error:
        _LOG.exception("scratch database %s could not be removed; the sweep will try again", name)


def create_clone_roles(scratch: Scratch, schema: str) -> None:
    """The three roles that a clone named `schema` needs, the import login a member of the owner.

    `schema` begins with the scratch database's name, so they go with it, or are found by the sweep after a crash.
    """
    with connect(scratch.admin) as admin:
        make_roles(admin, schema, sql.Identifier(scratch.name))


def make_roles(conn: psycopg.Connection[Any], schema: str, member: sql.Composable) -> None:
    """The roles of a clone, `member` allowed to act as its owner."""
    names = [f"{schema}_{suffix}" for suffix in ROLE_SUFFIXES]
    for name in names:
        conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOINHERIT").format(sql.Identifier(name)))
    options = sql.SQL(" WITH INHERIT TRUE, SET TRUE") if conn.info.server_version >= 160_000 else sql.SQL("")
    conn.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(names[0]), member) + options)


def drop_stale_scratch(conn: psycopg.Connection[Any], older_than: timedelta) -> list[str]:
    """Drop the scratch databases and roles that were made more than `older_than` ago; returns their names.

    `conn` is the control plane's login, in autocommit mode, in any other database.
    """
    limit = datetime.now(UTC) - older_than
    dropped: list[str] = []
    for kind, name in conn.execute(QUERIES["all_scratch"]).fetchall():
        made = _made_at(name)
        if made is None or made > limit:
            continue
        statement = "DROP DATABASE IF EXISTS {} WITH (FORCE)" if kind == "database" else "DROP ROLE IF EXISTS {}"
        try:
            conn.execute(sql.SQL(statement).format(sql.Identifier(name)))
            dropped.append(name)
        except psycopg.Error:
            _LOG.exception("scratch %s %s could not be removed; the next sweep will try again", kind, name)
    return dropped


def _made_at(name: str) -> datetime | None:
    match = _NAME.match(name)
    try:
        return datetime.strptime(match.group(1), "%Y%m%d%H%M%S").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None
