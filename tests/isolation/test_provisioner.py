"""Day to day nothing needs the cluster's admin login: here the registry does not even know its password."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection as registry
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg import sql

from provisioning import maintenance, pool, services, slots
from provisioning.admin.facts import live
from provisioning.isolation.check import check_isolation
from provisioning.models import SchemaSlot
from tenants import clusters, operations, secrets
from tenants.hardening.prepare import prepare_cluster
from tenants.identifiers import new_schema_name
from tenants.models import Cluster, ClusterLogin, Operation, Tenant
from tenants.postgres import close_pools, connect
from tenants.schemas import roles
from tenants.schemas.switch import switch
from tests.isolation.arena import SERVERS, Server, cluster_at, empty_cluster, superuser
from tests.provisioning.support import can_log_in, log_in
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

BY: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
PLACES = [(major, level) for major in sorted(SERVERS, reverse=True) for level in ("lockdown", "sealed")]


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: f"pg{place[0]}-{place[1]}")
def place(request: pytest.FixtureRequest, template: Any) -> Iterator[tuple[Server, Cluster]]:
    major, level = request.param
    server = SERVERS[major]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, level) as cluster:
        slots.expected_fingerprint(template, cluster)  # in a scratch database, once a major
        close_pools()
        cluster.secret = secrets.encrypt("not its password")
        cluster.save(update_fields=["secret"])
        yield server, Cluster.objects.get(pk=cluster.pk)


def create(cluster: Cluster, template: Any, *, warm: bool) -> services.Provisioned:
    assert not warm or pool.fill_one(cluster, template, 1)
    made = services.provision_tenant(
        name="Acme", slug=fresh_slug(), template=template.template.name, cluster=cluster.name, **BY
    )
    if not warm:
        assert made.connection is None
        operations.work(made.operation.pk)  # type: ignore[union-attr]
        done = Operation.objects.get(pk=made.operation.pk)  # type: ignore[union-attr]
        assert done.state == "succeeded", done.error or done.unwinding
    return made


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_the_whole_life_of_a_tenant_without_the_admin_login(place: Any, template: Any, warm: bool) -> None:
    server, cluster = place
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.dsn().conninfo())
    tenant = create(cluster, template, warm=warm).tenant
    act = {"tenant_id": tenant.pk, **BY}
    first = services.rotate_credentials(**act).connection
    assert first is not None
    with log_in(first) as session:
        session.execute("INSERT INTO customers (name) VALUES ('x')")
    services.suspend_tenant(reason="a test", **act)
    assert not can_log_in(first)
    services.resume_tenant(**act)
    assert can_log_in(first)
    lent = services.issue_credential(owner="Support", reason="a test", **act)
    assert can_log_in(lent.connection)
    services.close_credential(credential_id=lent.credential.pk, **act)
    opened = services.open_migrator(reason="a test", **act)
    with psycopg.connect(opened.connection.dsn, autocommit=True) as session:
        session.execute("CREATE TABLE later (id int)")
    closed = services.close_migrator(**act)
    assert closed is not None
    assert closed.findings == ""
    services.update_tenant(changes={"limits": {"connection_limit": 70}}, **act)
    assert live(Tenant.objects.get(pk=tenant.pk)).tables > 1
    emergency = services.rotate_credentials(emergency=True, reason="a test", **act).connection
    assert emergency is not None
    assert (can_log_in(first), can_log_in(emergency)) == (False, True)
    services.delete_tenant(reason="a test", grace_days=0, **act)
    services.undelete_tenant(**act)
    assert can_log_in(emergency)
    services.delete_tenant(reason="a test", grace_days=0, **act)
    purge = services.purge_tenant(confirm_slug=tenant.slug, reason="a test", **act).operation
    assert purge is not None
    operations.work(purge.pk)
    assert Tenant.objects.get(pk=tenant.pk).state == Tenant.State.PURGED
    with superuser(server, cluster.dbname) as session:
        assert session.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname = %(s)s"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname ^@ %(s)s",
            {"s": tenant.schema_name},
        ).fetchall() == []  # fmt: skip


def test_what_beat_does_needs_it_neither(place: Any, template: Any) -> None:
    _, cluster = place
    made = create(cluster, template, warm=True)
    assert services.rotate_credentials(tenant_id=made.tenant.pk, **BY).connection is not None
    with log_in(made.connection) as session:  # type: ignore[arg-type]
        session.execute("SELECT 1")
        maintenance.watch_logins()
        seen = made.tenant.roles.get(name=made.connection.user)  # type: ignore[union-attr]
        assert seen.last_seen_at is not None
        assert seen.last_seen_at > timezone.now() - timedelta(seconds=20)
    clusters.check_cluster(cluster)
    assert cluster.last_error == ""
    assert check_isolation(cluster=cluster, sample=5, **BY).ok
    waiting = slots.reserve(cluster, template)
    assert slots.build(waiting)
    SchemaSlot.objects.filter(pk=waiting.pk).update(state=SchemaSlot.State.RETIRING)
    pool.reap_slots()
    assert not SchemaSlot.objects.filter(pk=waiting.pk).exists()
    services.delete_tenant(tenant_id=made.tenant.pk, reason="a test", **BY)


def test_one_schema_takes_the_place_of_another_and_back(place: Any, template: Any) -> None:
    _, cluster = place
    made = create(cluster, template, warm=True)
    assert made.connection is not None
    slot, live = slots.reserve(cluster, template), made.tenant.schema_name
    assert slots.build(slot)
    with log_in(made.connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('mine')")
    counted = []
    for incoming, aside in ((slot.schema_name, aside_name := new_schema_name()), (aside_name, slot.schema_name)):
        with connect(cluster.work_dsn(), autocommit=True) as link:
            roles.close_logins(link, live, roles.logins(live))
            switch(link, live=live, incoming=incoming, aside=aside)
            roles.open_logins(link, live, [made.connection.user])
        with log_in(made.connection) as session:
            counted.append(session.execute("SELECT count(*) FROM customers WHERE name = 'mine'").fetchone())
    assert counted == [(0,), (1,)]
    assert check_isolation(cluster=cluster, sample=5, **BY).ok
    slots.remove(slot)
    services.delete_tenant(tenant_id=made.tenant.pk, reason="a test", **BY)


def test_the_provisioner_may_little_and_tenants_nothing_of_it(place: Any) -> None:
    server, cluster = place
    dsn = cluster.work_dsn()
    with superuser(server, cluster.dbname) as session:
        role = session.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = %s",
            [dsn.user],
        ).fetchone()
    assert role == (False, False, False, False, False)
    with psycopg.connect(dsn.conninfo(), autocommit=True) as session:
        for statement in (
            "CREATE ROLE somebody",
            "ALTER ROLE postgres PASSWORD 'x'",
            "SELECT rolpassword FROM pg_authid",
            "SELECT pg_read_file('postgresql.conf')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


def test_making_tenants_pushes_nothing_out_of_the_statistics(place: Any) -> None:
    server, cluster = place
    counted = "SELECT count(*) FROM extensions.pg_stat_statements WHERE query LIKE %s"
    with superuser(server, cluster.dbname) as session, psycopg.connect(cluster.work_dsn().conninfo()) as maker:
        if session.execute("SELECT to_regclass('extensions.pg_stat_statements')").fetchone() == (None,):
            pytest.skip("this server counts no statements")
        name = new_schema_name()
        maker.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        maker.execute(sql.SQL("SELECT 1 AS {}").format(sql.Identifier(name)))
        maker.rollback()
        assert session.execute(counted, [f"CREATE SCHEMA%{name}%"]).fetchone() == (0,)
        assert session.execute(counted, [f"SELECT%{name}%"]).fetchone() == (1,)


def test_a_claim_asks_the_registry_nothing_more_for_it(cluster: Cluster, template: Any) -> None:
    """The cluster comes with its provisioner by the query that finds the cluster."""
    server = SERVERS[18]
    with empty_cluster(server) as other:
        counted = []
        for prepare in (False, True):
            if prepare:
                prepare_cluster(cluster=other, level="lockdown", superuser_url=server.superuser_url, **BY)
            assert pool.fill_one(other, template, 1)
            with CaptureQueriesContext(registry) as queries:
                made = services.provision_tenant(
                    name="Acme", slug=fresh_slug(), template=template.template.name, cluster=other.name, **BY
                )
            assert made.connection is not None
            counted.append(len(queries))
        assert Cluster.objects.get(pk=other.pk).work_dsn().user != other.dsn().user
        assert counted[0] == counted[1]


def test_logins_that_were_not_made_are_not_used() -> None:
    """Without a superuser there are none on the cluster, whatever is written down for later."""
    server = SERVERS[18]
    with empty_cluster(server) as cluster:
        done = prepare_cluster(cluster=cluster, level="lockdown", **BY)
        assert done.logins == []
        for purpose in ClusterLogin.Purpose.values:
            assert cluster.dsn(purpose) == cluster.dsn()
