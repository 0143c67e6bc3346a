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
# The server's way of refusing a database, that of its pg_hba.conf, and the pooler's (it finds no verifier there).
REFUSED = ("permission denied for database", "pg_hba.conf", "password authentication failed", "authentication failed")
MARKER_SECONDS = 20
HERE = sql.SQL("SELECT pg_has_role(session_user, session_user, 'MEMBER')")
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


def attempts(login: str, own: Side, other: Side | None) -> Sequence[Attempt]:
    """What a tenant tries: against another, where there is one, and against the control plane."""
    role = sql.Identifier(login)
    alone = (
        Attempt("become_owner", sql.SQL("SET LOCAL ROLE {}").format(role),
                sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role_name(own.schema, OWNER)))),
        Attempt("make_in_public", HERE, sql.SQL("CREATE TABLE public.cp_probe ()")),
        Attempt("control_plane", HERE, sql.SQL("SELECT cp.version()")),
    )  # fmt: skip
    return alone if other is None else (*_against(role, own, other), *alone)


def _against(role: sql.Identifier, own: Side, other: Side) -> Sequence[Attempt]:
    theirs = sql.Identifier(role_name(other.schema, READ_WRITE))
    return (
        Attempt("read", sql.SQL("SELECT 1 FROM {} LIMIT 1").format(own.relation),
                sql.SQL("SELECT 1 FROM {} LIMIT 1").format(other.relation)),
        Attempt("write", sql.SQL("DELETE FROM {} WHERE false").format(own.relation),
                sql.SQL("DELETE FROM {} WHERE false").format(other.relation)),
        Attempt("become_another", sql.SQL("SET LOCAL ROLE {}").format(role),
                sql.SQL("SET LOCAL ROLE {}").format(theirs)),
        Attempt("join_another", HERE, sql.SQL("GRANT {} TO {}").format(theirs, role)),
        Attempt("make_in_another", HERE,
                sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(other.schema, "cp_probe"))),
    )  # fmt: skip


def probe(
    role: TenantRole, own: Side, other: Side | None, *, elsewhere: Sequence[str] = (), pooler: Pooler | None = None
) -> dict[str, str]:
    """What came of each try: `denied`, `reached`, or `unproven` where the control failed. Nothing is kept of any.

    `other` is another tenant's in the same database, where there is one; `elsewhere` names other databases of tenants.
    Goes through the pooler where tenants may come that way only. Raises ClusterUnavailable, ClusterError (the login may
    have been closed meanwhile).
    """
    dsn = role.tenant.cluster.dsn().replace(user=role.name, password=role.password())
    cache.set(marker(role.name), True, timeout=MARKER_SECONDS)
    closed = pooler is not None and pooler.direct_found == Pooler.Door.CLOSED
    if closed and pooler is not None:
        dsn = dsn.replace(host=pooler.host, port=pooler.port)
        opened = through_pooler(dsn)
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
        results["another_database"] = _another_database(dsn, "postgres")
    for dbname in elsewhere:  # that the login gets in at all is the control
        if came_of_it := _another_database(dsn, dbname):
            results["another_tenants_database"] = came_of_it
            break
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


def _another_database(dsn: Dsn, dbname: str) -> str:
    """What came of it; empty when there is no such database (any more)."""
    try:
        psycopg.connect(dsn.replace(dbname=dbname).conninfo()).close()
    except psycopg.OperationalError as error:
        if any(text in str(error) for text in REFUSED):
            return DENIED
        if "no such database" in str(error) or "does not exist" in str(error) or "being dropped" in str(error):
            return ""
        if "FATAL" in str(error):
            return UNPROVEN
        raise ClusterUnavailable("The server cannot be tried.") from error
    return REACHED
