"""A tenant's roles: primitives on an open connection. Each is idempotent.

`<schema>_owner` owns everything and cannot log in; `_rw` and `_ro` hold privileges and are what policies name;
`_rw_a` and `_rw_b` are the logins, of which rotation opens one before it closes the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from tenants.clusters import TENANTS_GROUP
from tenants.exceptions import ClusterBusy
from tenants.identifiers import LOGIN_SUFFIXES, OWNER, READ_ONLY, READ_WRITE, role_name
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
SESSIONS_GONE_SECONDS = 5.0

# How a plan's limits are called as settings of a role. The connection limit is an attribute, the quota is watched.
_SETTINGS = {
    "statement_timeout_ms": ("statement_timeout", "ms"),
    "idle_in_transaction_timeout_ms": ("idle_in_transaction_session_timeout", "ms"),
    "lock_timeout_ms": ("lock_timeout", "ms"),
    "temp_file_limit_kb": ("temp_file_limit", "kB"),
}
_NOT_OVERRIDABLE = "temp_file_limit"


def all_roles(schema: str) -> list[str]:
    """Every role of a schema, in the order in which they can be dropped."""
    return [role_name(schema, suffix) for suffix in (*LOGIN_SUFFIXES, READ_ONLY, READ_WRITE, OWNER)]


def existing(connection: Connection[Any], schema: str) -> set[str]:
    """Those of a schema's roles that exist."""
    return {row[0] for row in connection.execute(QUERIES["existing_roles"], [all_roles(schema)])}


def logins(schema: str) -> list[str]:
    """The two alternating logins of a schema."""
    return [role_name(schema, suffix) for suffix in LOGIN_SUFFIXES]


def create_roles(connection: Connection[Any], schema: str, *, search_path: Sequence[str]) -> None:
    """Make a schema's roles, none of which can log in yet.

    A transaction of its own, and short: granting membership in a group locks that group until the commit.
    """
    names = all_roles(schema)
    with connection.transaction():
        there = existing(connection, schema)
        statements: list[sql.Composable] = [
            sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(n)) for n in names if n not in there
        ]
        statements += _memberships(connection, schema)
        statements += [_set_search_path(connection, login, search_path) for login in logins(schema)]
        connection.execute(sql.SQL("; ").join(statements))


def _memberships(connection: Connection[Any], schema: str) -> list[sql.Composable]:
    modern = connection.info.server_version >= 160_000
    group = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE" if modern else "GRANT {} TO {}")
    ours = sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE" if modern else "GRANT {} TO CURRENT_USER")
    owner, rw = role_name(schema, OWNER), role_name(schema, READ_WRITE)
    both = sql.SQL(", ").join(map(sql.Identifier, logins(schema)))
    everyone = sql.SQL(", ").join(map(sql.Identifier, [owner, *logins(schema)]))
    return [
        ours.format(sql.Identifier(owner)),
        group.format(sql.Identifier(rw), both),
        group.format(sql.Identifier(TENANTS_GROUP), everyone),
    ]


def _set_search_path(connection: Connection[Any], login: str, search_path: Sequence[str]) -> sql.Composable:
    return sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}").format(
        sql.Identifier(login),
        sql.Identifier(connection.info.dbname),
        sql.SQL(", ").join(map(sql.Identifier, search_path)),
    )


def apply_limits(connection: Connection[Any], schema: str, limits: dict[str, int]) -> None:
    """Give both logins their limits: a rotated login does not inherit the other's settings.

    `temp_file_limit` is left out where our login was not granted the right to set it.
    """
    may_limit_temp = connection.execute("SELECT has_parameter_privilege(%s, 'SET')", [_NOT_OVERRIDABLE]).fetchone() == (
        True,
    )
    statements: list[sql.Composable] = []
    for login in map(sql.Identifier, logins(schema)):
        statements.append(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(login, sql.Literal(limits["connection_limit"]))
        )
        for limit, (setting, unit) in _SETTINGS.items():
            if setting != _NOT_OVERRIDABLE or may_limit_temp:
                statements.append(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        login, sql.Identifier(setting), sql.Literal(f"{limits[limit]}{unit}")
                    )
                )
    connection.execute(sql.SQL("; ").join(statements))


def set_password(connection: Connection[Any], login: str, password: str) -> None:
    """Let `login` log in with `password`, which leaves this process only as a SCRAM verifier."""
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier)))


def open_logins(connection: Connection[Any], names: Iterable[str]) -> None:
    """Let these log in again, with the passwords they had."""
    for name in names:
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(name)))


def close_logins(connection: Connection[Any], names: Sequence[str], *, forget_password: bool = False) -> int:
    """Shut these logins out and end their sessions. Returns how many sessions there were.

    NOLOGIN alone leaves sessions open, so they are terminated until none is left.
    Raises ClusterBusy when some are still there after 5 s.
    """
    password = sql.SQL(" PASSWORD NULL" if forget_password else "")
    with connection.transaction():
        for name in names:
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN{}").format(sql.Identifier(name), password))
    return end_sessions(connection, names)


def end_sessions(connection: Connection[Any], names: Sequence[str]) -> int:
    """Terminate every session of these roles and wait until they are gone. Raises ClusterBusy after 5 s."""
    deadline = time.monotonic() + SESSIONS_GONE_SECONDS
    ended = _count(connection, "end_sessions", names)
    while _count(connection, "count_sessions", names):
        if time.monotonic() > deadline:
            raise ClusterBusy("Sessions of this tenant do not end.", hint="Look at pg_stat_activity.")
        time.sleep(0.02)
        _count(connection, "end_sessions", names)
    return ended


def _count(connection: Connection[Any], query: str, names: Sequence[str]) -> int:
    row = connection.execute(QUERIES[query], [list(names)]).fetchone()
    return int(row[0]) if row else 0


def able_to_log_in(connection: Connection[Any], names: Sequence[str]) -> set[str]:
    """Which of these may log in."""
    return {row[0] for row in connection.execute(QUERIES["can_log_in"], [list(names)])}


def drop_roles(connection: Connection[Any], schema: str) -> None:
    """Drop a schema's roles, after the schema itself."""
    names = all_roles(schema)
    with connection.transaction():
        there = existing(connection, schema)
        if (owner := role_name(schema, OWNER)) in there:
            _drop_owned(connection, owner)
        for name in names:
            if name in there:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _drop_owned(connection: Connection[Any], owner: str) -> None:
    """Remove the owner's default privileges, the last thing that binds the roles."""
    role = sql.Identifier(owner)
    held = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = %s::regrole AND member = current_user::regrole)"
        " OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
        [f'"{owner}"'],
    ).fetchone()
    if held == (False,):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    connection.execute(sql.SQL("SET LOCAL ROLE {}; DROP OWNED BY {}; RESET ROLE").format(role, role))
