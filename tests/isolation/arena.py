"""A cluster of a test's own at a level: a database on one of the two servers, registered, prepared, gone afterwards."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tenants import clusters
from tenants.hardening import template
from tenants.hardening.prepare import prepare_cluster
from tenants.models import Cluster, ClusterLogin
from tenants.postgres import close_pools
from tests.support.environment import PREFIX
from tests.support.fixtures import ACTOR, SOURCE


@dataclass(frozen=True)
class Server:
    """One of the two PostgreSQL servers that tests are given."""

    major: int
    url: str = field(repr=False)
    superuser_url: str = field(repr=False)

    @property
    def missing(self) -> str:
        """Why it cannot be used; empty when it can."""
        return "" if self.url and self.superuser_url else f"no PostgreSQL {self.major} with a superuser is given"


def _server(major: int, url: str, superuser: str) -> Server:
    return Server(major, os.environ.get(url, ""), os.environ.get(superuser, ""))


SERVERS = {
    18: _server(18, "CP_TEST_MAINTENANCE_URL", "SUPERUSER_DATABASE_URL"),
    15: _server(15, "POSTGRES15_URL", "POSTGRES15_SUPERUSER_URL"),
}


def in_database(url: str, dbname: str) -> str:
    """The same URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{dbname}"))


@contextmanager
def superuser(server: Server, dbname: str = "controlplane") -> Iterator[psycopg.Connection[Any]]:
    """A superuser's session, in autocommit mode."""
    with psycopg.connect(in_database(server.superuser_url, dbname), autocommit=True) as session:
        yield session


def touches_all(statement: str) -> bool:
    """Whether it changes a role that tenants of all databases of the server share, or what that may on a database."""
    return "cp_tenants" in statement and (" ON " not in statement or " ON DATABASE " in statement)


def group_of(dbname: str) -> str:
    """The group of a database's tenants."""
    return f"cp_tenants_{hashlib.sha256(dbname.encode()).hexdigest()[:12]}"


@contextmanager
def shared_roles(server: Server, *, change: bool = False) -> Iterator[None]:
    """While the roles that all databases of a server share are judged, nobody changes them; and one at a time does."""
    lock = "SELECT pg_advisory_lock(4711)" if change else "SELECT pg_advisory_lock_shared(4711)"
    with superuser(server) as session:
        session.execute(lock)
        yield


@contextmanager
def empty_cluster(server: Server, **options: Any) -> Iterator[Cluster]:
    """A new registered database on `server`; dropped afterwards with all roles that belong to it."""
    dbname = f"{PREFIX}_arena_{secrets.token_hex(4)}"
    address = urlsplit(server.url)
    with psycopg.connect(server.url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(dbname)))
    with superuser(server, dbname) as session:  # as controlplane.embedded does
        session.execute(
            sql.SQL("CREATE SCHEMA extensions AUTHORIZATION {}").format(sql.Identifier(address.username or ""))
        )
        session.execute("CREATE EXTENSION pg_stat_statements SCHEMA extensions")
    row = None
    try:
        row = clusters.register_cluster(
            name=dbname.replace("_", "-")[-40:].strip("-"), host=str(address.hostname), port=address.port or 5432,
            username=str(address.username), password=str(address.password), dbname=dbname,
            **{"pool_target": 0, **options}, actor=ACTOR, source=SOURCE,
        )  # fmt: skip
        yield row
    finally:
        close_pools()
        _remove(server, dbname, row)


def _remove(server: Server, dbname: str, row: Cluster | None) -> None:
    with superuser(server, dbname) as session:
        found = session.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_[a-z2-7]{20}$'").fetchall()
    with superuser(server) as session:
        _remove_databases(session, row)
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(dbname)))
        session.execute("SELECT cp.drop_roles(s) FROM unnest(%s::text[]) s", [[name for (name,) in found]])
        for name in (group_of(dbname), clusters.guests_of(dbname)):
            session.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
        for name in ClusterLogin.objects.filter(cluster=row).values_list("username", flat=True) if row else ():
            session.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
    if row:
        Cluster.objects.filter(pk=row.pk).update(state=Cluster.State.DISABLED)


def _remove_databases(session: psycopg.Connection[Any], row: Cluster | None) -> None:
    """Those of tenants' own that a test left, and the template of those."""
    names = [] if row is None else [template.name_of(row), *row.databases.values_list("dbname", flat=True)]
    for name in names:
        if session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None:
            session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def cluster_at(server: Server, level: str) -> Iterator[Cluster]:
    """A cluster of its own, prepared by the service for `level`."""
    with empty_cluster(server) as row:
        done = prepare_cluster(cluster=row, level=level, superuser_url=server.superuser_url, actor=ACTOR, source=SOURCE)
        assert (done.level, done.refused) == (level, [])
        yield row
