"""A cluster of a test's own behind a real PgBouncer, on PostgreSQL 18 or 15."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from controlplane.embedded.pgbouncer import EmbeddedPgBouncer, installed
from provisioning import services, slots
from tenants import clusters, pooling
from tenants.models import Cluster, Pooler, Tenant
from tests.embedded.homes import new_home, remove_home
from tests.support.databases import maintenance_url
from tests.support.environment import PREFIX
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

needs_pgbouncer = pytest.mark.skipif(installed() is None, reason="no PgBouncer: install the package pgbouncer")
WHO = {"actor": ACTOR, "source": SOURCE}


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that the tests were given."""

    url: str
    superuser_url: str
    pooler_password: str
    data: Path = Path("/")

    @property
    def pooler_way(self) -> str:
        """Over TCP."""
        url = urlsplit(self.url)
        return f"{url.hostname}:{url.port}"


def server(major: str) -> Server:
    """The PostgreSQL of this major version; skips where there is none."""
    prefix = "" if major == "18" else "POSTGRES15_"
    superuser = os.environ.get("SUPERUSER_DATABASE_URL" if major == "18" else "POSTGRES15_SUPERUSER_URL", "")
    if not superuser or f"{prefix}POOLER_PASSWORD" not in os.environ:
        pytest.skip(f"no PostgreSQL {major} of our own")
    url = maintenance_url() if major == "18" else os.environ["POSTGRES15_URL"]
    return Server(url, superuser, os.environ[f"{prefix}POOLER_PASSWORD"])


@dataclass
class Front:
    """A registered cluster with its pooler, and what is needed to look behind both."""

    server: Server
    cluster: Cluster
    bouncer: EmbeddedPgBouncer
    template: Any

    @property
    def pooler(self) -> Pooler:
        """As it is in the registry now."""
        return Pooler.objects.select_related("cluster").get(cluster=self.cluster)

    def superuser(self) -> psycopg.Connection[Any]:
        """A superuser's session in the cluster's database."""
        return psycopg.connect(self.server.superuser_url, dbname=self.cluster.dbname, autocommit=True)

    def tenant(self, **options: Any) -> services.Provisioned:
        """A new active tenant, from a slot of its own."""
        assert slots.build(slots.reserve(self.cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=self.cluster.name, template=self.template.template.name,
            **{**WHO, **options},
        )  # fmt: skip

    def sessions(self, login: str) -> int:
        """Server sessions of a login."""
        with self.superuser() as session:
            row = session.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [login]).fetchone()
        return int(row[0]) if row else 0


def through(connection: Any, **options: Any) -> psycopg.Connection[Any]:
    """A tenant's session by the address it was told, with what transaction pooling needs."""
    return psycopg.connect(connection.dsn, autocommit=True, prepare_threshold=None, connect_timeout=20, **options)


def direct(front: Front, connection: Any) -> psycopg.Connection[Any]:
    """The same login, past the pooler."""
    own = front.cluster.dsn()
    return psycopg.connect(connection.dsn, host=own.host, port=own.port, autocommit=True, connect_timeout=5)


@contextmanager
def database(where: Server) -> Iterator[str]:
    """An empty database on a server, dropped afterwards with its tenants' roles."""
    name = f"{PREFIX}_{fresh_slug('front').replace('-', '_')}"
    with psycopg.connect(where.url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield name
    finally:
        for cluster in Cluster.objects.filter(dbname=name):
            cluster.provisioner = None  # whoever prepared it has taken that away
            for schema in Tenant.objects.filter(cluster=cluster).values_list("schema_name", flat=True):
                slots.remove_from_cluster(cluster, schema)
            Pooler.objects.filter(cluster=cluster).delete()
        with psycopg.connect(where.url, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def bouncer(where: Any) -> Iterator[EmbeddedPgBouncer]:
    """A PgBouncer in front of a server, not registered."""
    home = new_home()
    made = EmbeddedPgBouncer(home / "pgbouncer", where, say=lambda _: None)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        remove_home(home)


def registered(where: Server, dbname: str) -> Cluster:
    """The database as a cluster."""
    url = urlsplit(where.url)
    return clusters.register_cluster(
        name=fresh_slug("front"), host=str(url.hostname), port=int(url.port or 5432), dbname=dbname,
        username=str(url.username), password=str(url.password), pool_target=0, **WHO,
    )  # fmt: skip


@contextmanager
def front(major: str, template: Any) -> Iterator[Front]:
    """All of it, for a module."""
    where = server(major)
    with database(where) as dbname, bouncer(where) as made:
        cluster = registered(where, dbname)
        pooling.register_pooler(
            cluster=cluster, host="127.0.0.1", port=made.port, password=where.pooler_password,
            config_path=str(made.tenants_file), **WHO,
        )  # fmt: skip
        yield Front(where, Cluster.objects.get(pk=cluster.pk), made, template)
