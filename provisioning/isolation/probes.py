"""Trying it: with a tenant's own login, as the tenant would, and always rolled back.

Each try has a control, the same done where it is allowed: a try that could not have worked anyway proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.core.cache import cache
from psycopg import Connection, sql

from tenants.detection.signature import marker, probe_name
from tenants.exceptions import ClusterUnavailable
from tenants.identifiers import OWNER, READ_WRITE, role_name
from tenants.models import Pooler, TenantRole
from tenants.postgres import Dsn, connect, through_pooler

DENIED, REACHED, UNPROVEN = "denied", "reached", "unproven"
MARKER_SECONDS = 20
# The server was busy, or what was aimed at is gone meanwhile: that says nothing. By SQLSTATE, or the class of it.
SAYS_NOTHING = ("08", "40", "53", "55", "57", "3F000", "42704", "42P01")


@dataclass(frozen=True)
class Side:
    """A schema and one of its tables."""

    schema: str
    table: str

    @property
    def relation(self) -> sql.Identifier:
        """The table, quoted."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class Attempt:
    """What is tried, and the control that must work."""

    name: str
    control: sql.SQL | sql.Composed
    attack: sql.SQL | sql.Composed


def attempts(login: str, own: Side, other: Side) -> Sequence[Attempt]:
    """What a tenant tries against another."""
    here = sql.SQL("SELECT pg_has_role(session_user, session_user, 'MEMBER')")
    role = sql.Identifier(login)
    theirs = sql.Identifier(role_name(other.schema, READ_WRITE))
    return (
        Attempt("read", sql.SQL("SELECT 1 FROM {} LIMIT 1").format(own.relation),
                sql.SQL("SELECT 1 FROM {} LIMIT 1").format(other.relation)),
        Attempt("write", sql.SQL("DELETE FROM {} WHERE false").format(own.relation),
                sql.SQL("DELETE FROM {} WHERE false").format(other.relation)),
        Attempt("become_another", sql.SQL("SET LOCAL ROLE {}").format(role),
                sql.SQL("SET LOCAL ROLE {}").format(theirs)),
        Attempt("become_owner", sql.SQL("SET LOCAL ROLE {}").format(role),
                sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role_name(own.schema, OWNER)))),
        Attempt("join_another", here, sql.SQL("GRANT {} TO {}").format(theirs, role)),
        Attempt("make_in_public", here, sql.SQL("CREATE TABLE public.cp_probe ()")),
        Attempt("make_in_another", here,
                sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(other.schema, "cp_probe"))),
        Attempt("control_plane", here, sql.SQL("SELECT cp.version()")),
    )  # fmt: skip


def probe(role: TenantRole, own: Side, other: Side, *, pooler: Pooler | None = None) -> dict[str, str]:
    """What came of each try: `denied`, `reached`, or `unproven` where the control failed. Nothing is kept of any.

    Goes through the pooler where tenants may come that way only. Raises ClusterUnavailable, ClusterError (the login may
    have been closed meanwhile).
    """
    dsn = role.tenant.cluster.dsn().replace(user=role.name, password=role.password())
    cache.set(marker(role.name), True, timeout=MARKER_SECONDS)
    closed = pooler is not None and pooler.direct_found == Pooler.Door.CLOSED
    if closed and pooler is not None:
        opened = through_pooler(dsn.replace(host=pooler.host, port=pooler.port))
    else:
        opened = connect(dsn, autocommit=True)
    results = {}
    try:
        with opened as connection, connection.transaction(force_rollback=True):
            _sign(connection, role.name)
            for attempt in attempts(role.name, own, other):
                results[attempt.name] = _try(connection, attempt)
    except ClusterUnavailable as error:
        if "password authentication failed" not in error.message:
            raise
        return {"login": UNPROVEN}  # it has set itself another, which the catalog tells too
    if not closed:
        results["another_database"] = _another_database(dsn)
    return results


def _sign(connection: Connection[Any], login: str) -> None:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    name = probe_name(login, row[0] if row else 0)
    connection.execute(sql.SQL("SET LOCAL application_name = {}").format(sql.Literal(name)))


def _try(connection: Connection[Any], attempt: Attempt) -> str:
    if _run(connection, attempt.control) != "":
        return UNPROVEN
    state = _run(connection, attempt.attack)
    if state.startswith(SAYS_NOTHING):
        return UNPROVEN
    # Anything else but a refusal means that it got further than it may.
    return DENIED if state == "42501" else REACHED


def _run(connection: Connection[Any], statement: sql.SQL | sql.Composed) -> str:
    """The SQLSTATE of what a statement came to, empty when it worked."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.Error as error:
        if error.sqlstate is None or connection.broken:
            raise
        return error.sqlstate
    return ""


def _another_database(dsn: Dsn) -> str:
    try:
        psycopg.connect(dsn.replace(dbname="postgres").conninfo()).close()
    except psycopg.OperationalError as error:
        if "permission denied for database" in str(error):
            return DENIED
        if "FATAL" in str(error):
            return UNPROVEN
        raise ClusterUnavailable("The server cannot be tried.") from error
    return REACHED
