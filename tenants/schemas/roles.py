"""A tenant's roles: primitives on an open connection. Each is idempotent.

`<schema>_owner` owns everything and cannot log in; `_rw` and `_ro` hold privileges and are what policies name;
`_rw_a` and `_rw_b` are the logins, of which rotation opens one before it closes the other. What is done to them is done
by the functions of `tenants/prepare.sql`, on the cluster.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from tenants.exceptions import ClusterBusy
from tenants.identifiers import LOGIN_SUFFIXES, MIGRATOR, OWNER, READ_ONLY, READ_WRITE, role_name
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


def all_roles(schema: str) -> list[str]:
    """Every role of a schema."""
    return [role_name(schema, suffix) for suffix in (*LOGIN_SUFFIXES, READ_ONLY, READ_WRITE, OWNER)]


def existing(connection: Connection[Any], schema: str) -> set[str]:
    """Those of a schema's roles that exist."""
    return {row[0] for row in connection.execute(QUERIES["existing_roles"], [all_roles(schema)])}


def logins(schema: str) -> list[str]:
    """The two alternating logins of a schema."""
    return [role_name(schema, suffix) for suffix in LOGIN_SUFFIXES]


def all_logins(schema: str) -> list[str]:
    """Every login that a schema can have: the two alternating ones, and the migrator of an open window."""
    return [*logins(schema), role_name(schema, MIGRATOR)]


def additional_logins(connection: Connection[Any], schema: str) -> list[str]:
    """The additional logins of a schema that are there now."""
    return [row[0] for row in connection.execute(QUERIES["additional_logins"], {"schema": schema})]


def open_credential(
    connection: Connection[Any],
    schema: str,
    login: str,
    password: str,
    *,
    until: datetime,
    limits: dict[str, int],
    search_path: Sequence[str],
) -> None:
    """Make an additional login and let it in until a moment."""
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    settings = Jsonb(_role_settings(limits))
    connection.execute(
        QUERIES["open_credential"],
        [schema, login, verifier, until, limits["connection_limit"], settings, list(search_path)],
    )


def close_credential(connection: Connection[Any], schema: str, login: str) -> int:
    """Shut an additional login out, end its sessions and take it away. Returns how many sessions there were."""
    ended = close_logins(connection, schema, [login], forget_password=True)
    connection.execute(QUERIES["drop_credential"], [schema, login])
    return ended


def last_seen(connection: Connection[Any], names: Sequence[str]) -> dict[str, float]:
    """Of those of these logins that have sessions: how many seconds ago one of them last did something."""
    return dict(connection.execute(QUERIES["last_seen"], [list(names)]).fetchall())


def open_migrator(
    connection: Connection[Any], schema: str, password: str, *, until: datetime, search_path: Sequence[str]
) -> str:
    """Make the schema's migrator and let it in until a moment. Returns its name."""
    login = role_name(schema, MIGRATOR)
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    connection.execute(QUERIES["open_migrator"], [schema, verifier, until, list(search_path)])
    return login


def close_migrator(connection: Connection[Any], schema: str) -> int:
    """Shut the migrator out, end its sessions and take it away. Returns how many sessions there were."""
    login = role_name(schema, MIGRATOR)
    ended = close_logins(connection, schema, [login], forget_password=True)
    connection.execute(QUERIES["drop_migrator"], [schema])
    return ended


def guard_findings(connection: Connection[Any], schema: str) -> str:
    """What is wrong with the protection of a schema, in words; empty when nothing is. The guard must be installed."""
    row = connection.execute(QUERIES["guard_findings"], [schema]).fetchone()
    return str(row[0] or "") if row else ""


def create_roles(connection: Connection[Any], schema: str, *, search_path: Sequence[str]) -> None:
    """Make a schema's roles, none of which can log in yet, in a short transaction of their own."""
    connection.execute(QUERIES["create_roles"], [schema, list(search_path)])


def take_owner(connection: Connection[Any], schema: str) -> None:
    """Let the session become the schema's owner."""
    connection.execute(QUERIES["take_owner"], [schema])


@contextmanager
def as_owner(connection: Connection[Any], schema: str) -> Iterator[None]:
    """A transaction in which the session is the schema's owner; outside it, it is not even a member."""
    with connection.transaction():
        take_owner(connection, schema)
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role_name(schema, OWNER))))
        yield
        connection.execute("RESET ROLE")
        connection.execute(QUERIES["release_owner"], [schema])


def apply_limits(
    connection: Connection[Any], schema: str, limits: dict[str, int], *, to: Sequence[str] | None = None
) -> None:
    """Give logins (both by default) their limits: a rotated login does not inherit the other's settings.

    `temp_file_limit` is left out where nobody granted us the right to set it.
    """
    settings = _role_settings(limits)
    names = list(to) if to is not None else logins(schema)
    connection.execute(QUERIES["set_limits"], [schema, names, limits["connection_limit"], Jsonb(settings)])


def _role_settings(limits: dict[str, int]) -> dict[str, str]:
    return {setting: f"{limits[limit]}{unit}" for limit, (setting, unit) in _SETTINGS.items()}


def set_password(connection: Connection[Any], schema: str, login: str, password: str) -> None:
    """Give `login` this password, which leaves this process only as a SCRAM verifier; it is not let in by that.

    Costs the server and this process some milliseconds each, so it is done before anybody waits.
    """
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    connection.execute(QUERIES["set_password"], [schema, login, verifier])


def open_logins(connection: Connection[Any], schema: str, names: Sequence[str]) -> None:
    """Let these log in, with the passwords they have."""
    connection.execute(QUERIES["open_logins"], [schema, list(names)])


def close_logins(
    connection: Connection[Any], schema: str, names: Sequence[str], *, forget_password: bool = False
) -> int:
    """Shut these logins out and end their sessions. Returns how many sessions there were.

    NOLOGIN alone leaves sessions open, so they are terminated until none is left.
    Raises ClusterBusy when some are still there after 5 s.
    """
    connection.execute(QUERIES["close_logins"], [schema, list(names), forget_password])
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


def open_sessions(connection: Connection[Any], names: Sequence[str]) -> int:
    """How many sessions of these roles there are."""
    return _count(connection, "count_sessions", names)


def _count(connection: Connection[Any], query: str, names: Sequence[str]) -> int:
    row = connection.execute(QUERIES[query], [list(names)]).fetchone()
    return int(row[0]) if row else 0


def able_to_log_in(connection: Connection[Any], names: Sequence[str]) -> set[str]:
    """Which of these may log in."""
    return {row[0] for row in connection.execute(QUERIES["can_log_in"], [list(names)])}


def drop_roles(connection: Connection[Any], schema: str) -> None:
    """Drop a schema's roles, after the schema itself."""
    connection.execute(QUERIES["drop_roles"], [schema])
