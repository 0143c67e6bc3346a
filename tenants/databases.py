"""A tenant's own database on a registered cluster's server: made, prepared as its host is, and dropped.

It is a copy of the template that `prepare_cluster` makes where it is given a superuser: what only a superuser can
close or install (catalogs, languages, the guard, extensions) comes with it, though the login that makes it is none.
Without one it is a copy of `template1`, and as closed as a cluster's own login can make it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from tenants import clusters
from tenants.exceptions import ClusterBusy, ClusterError, ClusterUnusable
from tenants.hardening import template
from tenants.hardening.levels import ORDER, Level, open_items, reached, summary
from tenants.models import Cluster
from tenants.models.clusters import ClusterLogin
from tenants.postgres import connect, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
TIMEOUT_MS = 300_000
FALLBACK = "template1"


@contextmanager
def _host(own: Cluster) -> Iterator[Connection[Any]]:
    """A session beside the database: it can neither be made nor dropped from within."""
    with connect(
        own.server.dsn(), autocommit=True, statement_timeout_ms=TIMEOUT_MS, application_name="controlplane databases"
    ) as connection:
        yield connection


def exists(connection: Connection[Any], dbname: str) -> bool:
    """Whether the server has such a database."""
    return connection.execute(QUERIES["database_exists"], [dbname]).fetchone() == (True,)


def create(own: Cluster) -> None:
    """Make the database unless it is there. Raises ClusterUnusable when the login may not, ClusterBusy."""
    with _host(own) as connection:
        if not exists(connection, own.dbname):
            _copy_template(connection, own)
        # Also of one that is there: whoever made it may have died before this.
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(own.dbname)))


def _copy_template(connection: Connection[Any], own: Cluster) -> None:
    made = template.name_of(own.server)
    source = made if exists(connection, made) else FALLBACK
    try:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(own.dbname), sql.Identifier(source))
        )
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # by an attempt that was given up meanwhile, which may have been at it at the same moment
    except psycopg.errors.InsufficientPrivilege as error:
        user = own.server.dsn().user
        raise ClusterUnusable(
            f"The login {user} may not make databases, or not from {source}.",
            hint=f"As superuser: ALTER ROLE {user} CREATEDB; and prepare the cluster {own.server} again.",
        ) from error
    except psycopg.errors.ObjectInUse as error:
        raise ClusterBusy(f"Somebody is connected to {source}, which is copied.", hint="Try again.") from error


def prepare(own: Cluster, extensions: Iterable[Mapping[str, str]]) -> None:
    """Open the database to its tenant alone, make these extensions, and note how closed it is. Can be repeated.

    Raises ClusterUnusable when it is more open than its host was prepared for, or an extension cannot be had.
    """
    host, dsn = own.server, own.dsn()
    clusters.prepare(dsn)
    with connect(dsn, statement_timeout_ms=TIMEOUT_MS) as connection:
        connection.execute(QUERIES["join_host"], [host.dsn().dbname])
        _let_own_logins_in(connection, own)
        items = open_items(connection)
    for extension in extensions:
        _make_extension(own, extension["name"], extension["schema"])
    level = reached(items)
    if ORDER.index(level) < ORDER.index(Level(host.isolation_wanted)):
        raise ClusterUnusable(
            f"A new database on {host} would be {level} only; {host.isolation_wanted} is wanted there.",
            hint=f"Run prepare_cluster {host} --level {host.isolation_wanted} with a superuser: it makes the template.",
        )
    own.isolation_level, own.isolation_open = level, summary(items)
    facts = clusters.inspect(dsn)
    own.server_version_num, own.extensions = facts["version_num"], facts["extensions"]
    own.save(update_fields=["isolation_level", "isolation_open", "server_version_num", "extensions"])


def _let_own_logins_in(connection: Connection[Any], own: Cluster) -> None:
    """The control plane's logins of low privilege are the server's; what they may do here came with the template."""
    for login in own.server.logins.all():
        if connection.execute(QUERIES["role_exists"], [login.username]).fetchone() == (True,):
            may = "CONNECT, CREATE" if login.purpose == ClusterLogin.Purpose.PROVISIONER else "CONNECT"
            names = (sql.Identifier(own.dbname), sql.Identifier(login.username))
            connection.execute(sql.SQL(f"GRANT {may} ON DATABASE {{}} TO {{}}").format(*names))


def _make_extension(own: Cluster, name: str, schema: str) -> None:
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
        sql.Identifier(name), sql.Identifier(schema)
    )
    try:
        with connect(own.dsn(), autocommit=True) as connection:
            connection.execute(statement)
    except ClusterError as error:
        raise ClusterUnusable(
            f"The tenant's template needs the extension {name}: {error.message}",
            hint=f"As superuser in {own.server.dsn().dbname}: {statement.as_string(None)}; then prepare it again.",
        ) from error


def drop(own: Cluster) -> None:
    """Drop the database and the group of those who may connect to it, whatever of them is there; sessions are ended.

    Its tenant's roles must be gone. Raises ClusterBusy.
    """
    with _host(own) as connection:
        if not exists(connection, own.dbname):
            return
        # One whose dropping was interrupted was closed before that; nobody can connect to it any more.
        if connection.execute(QUERIES["half_dropped"], [own.dbname]).fetchone() != (True,):
            with connect(own.dsn(), autocommit=True) as inside:
                if inside.execute(QUERIES["can_close_database"]).fetchone() == (True,):
                    inside.execute(QUERIES["close_database"])
        try:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(own.dbname)))
        except psycopg.errors.ObjectInUse as error:
            raise ClusterBusy(f"Sessions in {own.dbname} do not end.", hint="Try again.") from error


def is_gone(own: Cluster) -> bool:
    """Whether the server has the database no more."""
    with _host(own) as connection:
        return not exists(connection, own.dbname)
