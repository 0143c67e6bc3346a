"""A fleet of tenants for a benchmark: rows in the registry, schemas with tables, statements of their logins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenants import clusters, plans
from tenants.actors import SYSTEM, Source
from tenants.identifiers import new_schema_name
from tenants.ledger.bench.place import own_dsn, registry
from tenants.models import Cluster, Plan, Tenant
from tenants.postgres import connect, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
BY: dict[str, Any] = {"actor": SYSTEM, "source": Source(channel="command")}
# So many schemas are made in one transaction: each of its locks takes room in the server's memory.
BATCH = 20
PREFIX = "cpbench_monitoring_"


class Fleet:
    """Tenants on the default cluster of a registry that exists for the benchmark alone."""

    def __init__(self, tables: int, tell: Callable[[str], None]) -> None:
        """Without any tenants."""
        self.tables, self.tell = tables, tell
        self.cluster: Cluster = clusters.ensure_default_cluster(pool_target=0, max_parallel=1, **BY)
        if not Plan.objects.exists():
            plans.create_plan(slug="bench", name="Bench", is_default=True, **BY)
        self.plan = Plan.objects.get(is_default=True)
        self.tenants: list[Tenant] = []
        self.counts_statements = _count_statements(self.cluster)

    def grow(self, number: int) -> None:
        """Make tenants until there are so many."""
        missing = number - len(self.tenants)
        made = Tenant.objects.bulk_create(
            Tenant(
                name="Bench", slug=f"bench-{len(self.tenants) + n}", state=Tenant.State.ACTIVE, plan=self.plan,
                cluster=self.cluster, template="bench", template_version=1, schema_name=new_schema_name(),
            )
            for n in range(missing)
        )  # fmt: skip
        with connect(self.cluster.dsn(), autocommit=True, statement_timeout_ms=600_000) as session:
            for begin in range(0, len(made), BATCH):
                names = [tenant.schema_name for tenant in made[begin : begin + BATCH]]
                statement = QUERIES["make_schemas"].replace("{schemas}", ",".join(names))
                session.execute(statement.replace("{tables}", str(self.tables)).encode())
                if begin % 500 == 0:
                    self.tell(f"{len(self.tenants) + begin:,} tenants")
        self._speak([tenant.schema_name for tenant in made])
        self._write_out()
        self.tenants += made

    def change(self, share: float) -> None:
        """A share of the tenants changes rows, so that the next look has something new to see."""
        chosen = [tenant.schema_name for tenant in self.tenants[:: max(1, round(1 / share))]]
        with connect(self.cluster.dsn(), autocommit=True, statement_timeout_ms=600_000) as session:
            for name in chosen:
                session.execute(
                    sql.SQL("INSERT INTO {}.t1 (a, b) SELECT g, md5(g::text) FROM generate_series(1, 50) g").format(
                        sql.Identifier(name)
                    )
                )

    def _speak(self, schemas: list[str]) -> None:
        """Two statements of a login of each, as far as the server keeps so many (5,000 by default)."""
        if not self.counts_statements:
            return
        with psycopg.connect(_superuser(self.cluster), autocommit=True) as session:
            for name in schemas:
                login = sql.Identifier(f"{name}_rw_a")
                session.execute(sql.SQL("CREATE ROLE {}").format(login))
                session.execute(sql.SQL("SET ROLE {}; SELECT 1; SELECT 1, 2; RESET ROLE").format(login))

    def _write_out(self) -> None:
        """A checkpoint flushes a hundred thousand new files; beside that, a first look at them took over 15 s."""
        if url := _superuser(self.cluster):
            with psycopg.connect(url, autocommit=True) as session:
                session.execute("CHECKPOINT")

    def forget_logins(self) -> None:
        """They belong to the server, not to the database."""
        if self.counts_statements:
            elsewhere = psycopg.conninfo.make_conninfo(_superuser(self.cluster), dbname="postgres")
            with psycopg.connect(elsewhere, autocommit=True) as session:
                for tenant in self.tenants:
                    session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(f"{tenant.schema_name}_rw_a")))


@contextmanager
def fleet(tables: int, tell: Callable[[str], None]) -> Iterator[Fleet]:
    """An empty fleet in a database of its own, of which nothing stays."""
    with registry(PREFIX):
        made = Fleet(tables, tell)
        try:
            yield made
        finally:
            made.forget_logins()


def _superuser(cluster: Cluster) -> str:
    given = os.environ.get("SUPERUSER_DATABASE_URL", "")
    return psycopg.conninfo.make_conninfo(given, dbname=cluster.dsn().dbname) if given else ""


def _count_statements(cluster: Cluster) -> bool:
    """Only a superuser can have statements counted in a new database; without one that part is not measured."""
    if not (superuser := _superuser(cluster)):
        return False
    with psycopg.connect(superuser, autocommit=True) as session:
        session.execute("CREATE SCHEMA IF NOT EXISTS extensions")
        session.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA extensions")
        session.execute(sql.SQL("GRANT USAGE ON SCHEMA extensions TO {}").format(sql.Identifier(own_dsn().user)))
    return True
