"""A server that probes look at: a database of a test's own, prepared by a superuser, on PostgreSQL 18 or 15."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from monitoring.models import ProbeState
from monitoring.models.samples import Sample
from monitoring.sweep import SAMPLES, Outcome, sweep_cluster
from provisioning import services, slots
from tenants.hardening import template as template_of_databases
from tenants.hardening.prepare import prepare_cluster
from tenants.models import Cluster, ClusterLogin
from tests.pooling.support import WHO, Server, database, registered, server
from tests.support.fixtures import fresh_slug


@dataclass
class Place:
    """The cluster, and what is needed to make something happen there."""

    server: Server
    cluster: Cluster
    template: Any

    def tenant(self, **options: Any) -> services.Provisioned:
        """A new active tenant."""
        assert slots.build(slots.reserve(self.cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=self.cluster.name, template=self.template.template.name,
            **{**WHO, **options},
        )  # fmt: skip

    def superuser(self) -> psycopg.Connection[Any]:
        """A superuser's session in the cluster's database."""
        return psycopg.connect(self.server.superuser_url, dbname=self.cluster.dbname, autocommit=True)

    def look(self, probe: str) -> Outcome:
        """One look, which must succeed."""
        [outcome] = sweep_cluster(Cluster.objects.select_related("pooler").get(pk=self.cluster.pk), [probe])
        assert not outcome.error, outcome.error
        return outcome

    def state(self, probe: str) -> ProbeState:
        """How the probe fares."""
        return ProbeState.objects.get(cluster=self.cluster, probe=probe)

    def seen(self, probe: str, **which: Any) -> Any:
        """The one row of the probe's last look, of this tenant where one is given."""
        model: type[Sample] = SAMPLES[probe]
        at = self.state(probe).ok_at
        return model._default_manager.get(cluster_id=self.cluster.pk, taken_at=at, **which)

    def watch(self, probe: str, made: services.Provisioned) -> Any:
        """Look, and what was seen of this tenant."""
        self.look(probe)
        return self.seen(probe, tenant_id=made.tenant.pk)


def session_of(made: services.Provisioned, **options: Any) -> psycopg.Connection[Any]:
    """A tenant's own session."""
    return psycopg.connect(made.connection.dsn, autocommit=True, connect_timeout=5, **options)


@contextmanager
def prepared(major: str, template: Any, level: str = "lockdown") -> Iterator[Place]:
    """For a module."""
    where = server(major)
    with database(where) as dbname:
        cluster = registered(where, dbname)
        with psycopg.connect(where.superuser_url, dbname=dbname, autocommit=True) as session:
            session.execute("CREATE SCHEMA IF NOT EXISTS extensions")
        superuser = psycopg.conninfo.make_conninfo(where.superuser_url, dbname=dbname)
        prepare_cluster(cluster=cluster, level=level, superuser_url=superuser, **WHO)
        made = Place(where, Cluster.objects.get(pk=cluster.pk), template)
        names = list(ClusterLogin.objects.filter(cluster=cluster).values_list("username", flat=True))
        yield made
        with made.superuser() as session:
            template_of_databases.drop(session, cluster)
            for name in names:
                session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))
