"""A tenant with a database of its own: the same life, made and undone, on PostgreSQL 18 and 15."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from backups.models import KeptSchema
from provisioning import credentials, services
from provisioning.isolation.check import check_isolation
from provisioning.models import SchemaSlot, TemplateVersion
from tenants import databases, operations, plans
from tenants.detection.collect import read_log
from tenants.exceptions import ClusterUnavailable, Conflict, InvalidInput
from tenants.hardening import template
from tenants.models import AuditEvent, Cluster, IsolationFinding, Operation, Plan, Tenant, TenantProbe
from tenants.postgres import connect
from tests.isolation.arena import SERVERS, Server, cluster_at, group_of, shared_roles, superuser
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, leftovers, log_in
from tests.support.fixtures import fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


def own_plan(tier: str = "database", **values: Any) -> Plan:
    """A new plan of a tier."""
    return plans.create_plan(slug=fresh_slug("own"), name="Own", isolation_tier=tier, **values, **WHO)


class House:
    """A cluster at a level, and a plan whose tenants have databases of their own on its server."""

    def __init__(self, server: Server, cluster: Cluster, template: TemplateVersion) -> None:
        self.server, self.cluster, self.template, self.plan = server, cluster, template, own_plan()

    def begin(self, **options: Any) -> services.Provisioned:
        """What the caller gets: nothing is warm."""
        values = {"template": self.template.template.name, "cluster": self.cluster.name, "plan": self.plan.slug}
        return services.provision_tenant(name="Own", slug=fresh_slug(), **{**values, **options}, **WHO)

    def tenant(self, **options: Any) -> tuple[Tenant, services.Connection]:
        """An active one, with its credentials."""
        made = self.begin(**options)
        operations.work(made.operation.pk)
        done = Operation.objects.get(pk=made.operation.pk)
        assert done.state == "succeeded", done.error
        return Tenant.objects.get(pk=made.tenant.pk), credentials.collect_credentials(operation_id=done.pk, **WHO)

    def databases(self) -> set[str]:
        with superuser(self.server) as session:
            rows = session.execute("SELECT datname FROM pg_database WHERE datname ~ '^t_[a-z2-7]{20}$'").fetchall()
        return {row[0] for row in rows}

    def roles(self, like: str) -> list[str]:
        with superuser(self.server) as session:
            return [row[0] for row in session.execute("SELECT rolname FROM pg_roles WHERE rolname ~ %s", [like])]

    def purge(self, tenant: Tenant) -> Operation:
        begun = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="end", force=True)
        operations.work(begun.operation.pk)
        return Operation.objects.get(pk=begun.operation.pk)

    def nothing_is_left(self, schema: str) -> bool:
        return (
            schema not in self.databases()
            and not self.roles(f"^{schema}")
            and not self.roles(group_of(schema))
            and leftovers(self.cluster, schema) == []
            and not Cluster.objects.filter(dbname=schema).exists()
            and not SchemaSlot.objects.filter(schema_name=schema).exists()
        )


@pytest.fixture(scope="module", params=[18, 15])
def house(request: pytest.FixtureRequest, template: Any) -> Iterator[House]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        yield House(server, cluster, template)


def test_the_whole_life(house: House) -> None:
    begun = house.begin()
    assert (begun.tenant.state, begun.connection) == ("provisioning", None)
    operations.work(begun.operation.pk)
    tenant = Tenant.objects.get(pk=begun.tenant.pk)
    assert tenant.state == "active", tenant.state_reason
    schema = tenant.schema_name
    steps = list(begun.operation.steps.order_by("started_at").values_list("name", flat=True))
    assert steps == ["create database", "prepare database", "create roles", "clone schema", "open login"]
    own = tenant.cluster
    assert (own.host_cluster, own.dedicated, own.dedicated_to) == (house.cluster, True, tenant)
    assert (own.isolation_level, own.server_version_num) == ("lockdown", house.cluster.server_version_num)
    connection = credentials.collect_credentials(operation_id=begun.operation.pk, **WHO)
    assert connection.dbname == schema
    assert (connection.host, connection.port) == house.cluster.public_address()
    with log_in(connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('x')")
        assert session.execute("SELECT current_database()").fetchone() == (schema,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT * FROM pg_stat_activity")  # as closed as its host
        act(services.suspend_tenant, tenant)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not can_log_in(connection)
    act(services.resume_tenant, tenant)
    assert can_log_in(connection)
    act(services.update_tenant, tenant, changes={"limits": {"connection_limit": 77}})
    lent = services.issue_credential(tenant_id=tenant.pk, owner="Eve", reason="looking", **WHO)
    migrator = services.open_migrator(tenant_id=tenant.pk, minutes=5, reason="migrating", **WHO)
    assert can_log_in(lent.connection)
    with log_in(migrator.connection) as session:
        session.execute(f"SET ROLE {schema}_owner")
        session.execute("CREATE TABLE more (id int)")
    rotated = act(services.rotate_credentials, tenant, overlap_minutes=0).connection
    assert (can_log_in(rotated), can_log_in(connection)) == (True, False)
    act(services.delete_tenant, tenant)
    assert not can_log_in(rotated)
    act(services.undelete_tenant, tenant)
    with log_in(rotated) as session:
        assert session.execute("SELECT count(*) FROM customers WHERE name = 'x'").fetchone() == (1,)
    kept = KeptSchema.objects.create(
        tenant=tenant, cluster=own, schema_name=schema, keep_until=timezone.now(), state="dropped"
    )
    assert house.purge(tenant).state == "succeeded"
    assert house.nothing_is_left(schema)
    kept.refresh_from_db()
    assert kept.cluster == house.cluster, "history stays"
    tenant.refresh_from_db()
    assert (tenant.state, tenant.cluster) == ("purged", house.cluster)
    actions = set(AuditEvent.objects.filter(tenant_id=tenant.pk).values_list("action", flat=True))
    assert {"tenant.create", "tenant.provision", "tenant.suspend", "credentials.rotate", "tenant.purge"} <= actions


def test_two_with_their_own_and_one_who_shares_cannot_reach_each_other(house: House) -> None:
    people = [house.tenant(), house.tenant(), house.tenant(plan=None)]
    assert len({connection.dbname for _, connection in people}) == 3
    for tenant, connection in people:
        for other, theirs in people:
            if other == tenant:
                assert can_log_in(connection)
                continue
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(connection.dsn, dbname=theirs.dbname, connect_timeout=10)
    with shared_roles(house.server):
        for tenant, _ in people:
            check = check_isolation(cluster=tenant.cluster, sample=0, tenants=[tenant], **WHO)
            rows = IsolationFinding.objects.filter(cluster=tenant.cluster, resolved_at=None)
            assert list(rows.values_list("code", "subject", "detail")) == []
            assert (check.ok, check.error, check.unverified, check.probed) == (True, "", [], 1)
            probe = TenantProbe.objects.get(tenant=tenant)
            assert probe.results["another_tenants_database"] == "denied"
            assert set(probe.results.values()) == {"denied"}
        # One who is let into another's database is found, wherever the proof begins.
        first, second = people[0], people[1]
        with superuser(house.server) as session:
            session.execute(f"GRANT CONNECT ON DATABASE {second[1].dbname} TO {first[1].user}")
        check_isolation(cluster=first[0].cluster, sample=0, **WHO)
        found = IsolationFinding.objects.get(cluster=first[0].cluster, resolved_at=None)
        assert (found.code, found.subject) == ("shared_grant", f"database {second[1].dbname}")
    for tenant, _ in people:
        house.purge(tenant)


def test_an_attempt_at_ones_database_names_both(house: House) -> None:
    """Told by the log of the server, which is read once for all databases on it."""
    (attacker, theirs), (victim, _) = house.tenant(), house.tenant()

    def read() -> None:
        with connect(house.cluster.dsn("monitor"), autocommit=True) as link:
            read_log(house.cluster, link)

    time.sleep(0.3)
    read()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(theirs.dsn, dbname=victim.schema_name, connect_timeout=10)
    told = AuditEvent.objects.filter(action="isolation.attempt", tenant_id=attacker.pk)
    limit = time.monotonic() + 10
    while not told.exists() and time.monotonic() < limit:
        read()
        time.sleep(0.2)
    event = told.get()
    assert (event.after["target"], event.after["statement"], event.outcome) == (victim.slug, "CONNECT", "denied")
    for tenant in (attacker, victim):
        house.purge(tenant)


def test_failures_at_each_step_leave_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step did before it failed is undone; the same tenant can be tried again."""
    from provisioning import slots

    for module, name in ((databases, "create"), (databases, "prepare"), (slots, "create_roles"), (slots, "open_login")):
        real = getattr(module, name)

        def fails(*args: Any, real: Any = real) -> None:
            real(*args)
            raise InvalidInput("and then it failed")

        begun = house.begin()
        schema = begun.tenant.schema_name
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails)
            operations.work(begun.operation.pk)
        tenant = Tenant.objects.get(pk=begun.tenant.pk)
        assert (tenant.state, tenant.cluster) == ("failed", house.cluster), name
        assert house.nothing_is_left(schema), name
    again = operations.retry(Operation.objects.get(pk=begun.operation.pk), **WHO)
    operations.work(again.pk)
    tenant.refresh_from_db()
    assert (tenant.state, tenant.cluster.host_cluster) == ("active", house.cluster)
    assert house.purge(tenant).state == "succeeded"
    assert house.nothing_is_left(tenant.schema_name)


def test_dropping_that_was_interrupted_is_done_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL killed amid a DROP DATABASE leaves one that nobody can connect to."""
    tenant, connection = house.tenant()
    begun = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="end", force=True)

    def interrupted(own: Cluster) -> None:
        with superuser(house.server, own.dbname) as session:
            session.execute("SELECT cp.close_database()")
        with superuser(house.server) as session:
            session.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [own.dbname])
        raise ClusterUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(databases, "drop", interrupted)
        operations.work(begun.operation.pk)
    begun.operation.refresh_from_db()
    assert begun.operation.state == "running"
    assert not can_log_in(connection)
    Operation.objects.filter(pk=begun.operation.pk).update(lease_expires_at=timezone.now())
    operations.work(begun.operation.pk)
    begun.operation.refresh_from_db()
    assert begun.operation.state == "succeeded", begun.operation.error
    assert house.nothing_is_left(tenant.schema_name)


def test_a_database_whose_maker_died_is_closed_to_the_public(house: House) -> None:
    begun = house.begin()
    own = Cluster.objects.get(dedicated_to=begun.tenant)
    with connect(own.server.dsn(), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {own.dbname} TEMPLATE {template.name_of(house.cluster)}".encode())
    databases.create(own)
    with superuser(house.server) as session:
        open_to = session.execute(
            "SELECT count(*) FROM pg_database, aclexplode(datacl) AS a WHERE datname = %s AND a.grantee = 0",
            [own.dbname],
        ).fetchone()
    assert open_to == (0,)
    operations.work(begun.operation.pk)
    assert house.purge(Tenant.objects.get(pk=begun.tenant.pk)).state == "succeeded"


def test_two_attempts_at_the_same_moment_make_one(house: House) -> None:
    """One of them is somebody who was taken for dead."""
    begun = house.begin()
    own = Cluster.objects.select_related("host_cluster").get(dedicated_to=begun.tenant)
    with ThreadPoolExecutor(4) as attempts:
        assert list(attempts.map(databases.create, [own] * 4)) == [None] * 4
    operations.work(begun.operation.pk)
    assert house.purge(Tenant.objects.get(pk=begun.tenant.pk)).state == "succeeded"


def test_a_database_is_never_more_open_than_its_host(house: House) -> None:
    """Without the template that a superuser made it could be."""
    name = template.name_of(house.cluster)
    with superuser(house.server) as session:
        session.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
        session.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    try:
        begun = house.begin()
        operations.work(begun.operation.pk)
        tenant = Tenant.objects.get(pk=begun.tenant.pk)
        assert tenant.state == "failed"
        assert "lockdown is wanted there" in tenant.state_reason
        assert house.nothing_is_left(begun.tenant.schema_name)
    finally:
        with superuser(house.server) as session:
            session.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
            session.execute(f"ALTER DATABASE {name} IS_TEMPLATE true")


def test_preparing_the_host_closes_the_databases_on_it_too(house: House, template: Any) -> None:
    from tenants.hardening.prepare import prepare_cluster

    with cluster_at(house.server, "baseline") as cluster:
        other = House(house.server, cluster, template)
        tenant, connection = other.tenant()
        assert tenant.cluster.isolation_level == "baseline"
        prepare_cluster(cluster=cluster, level="sealed", superuser_url=house.server.superuser_url, **WHO)
        tenant.cluster.refresh_from_db()
        assert (tenant.cluster.isolation_level, tenant.cluster.isolation_wanted) == ("sealed", "sealed")
        with log_in(connection) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT * FROM pg_class")
        with pytest.raises(InvalidInput):
            prepare_cluster(cluster=tenant.cluster, level="lockdown", **WHO)
        cluster.refresh_from_db()
        later, _ = other.tenant()
        assert later.cluster.isolation_level == "sealed"
        for each in (tenant, later):
            assert other.purge(each).state == "succeeded"


def test_a_tenant_does_not_change_its_tier_nor_a_plan_its_tenants(house: House, plan: Plan) -> None:
    tenant, _ = house.tenant()
    with pytest.raises(Conflict) as caught:
        act(services.update_tenant, tenant, changes={"plan": plan.slug})
    assert (caught.value.code, "restore" in (caught.value.hint or "")) == ("tier_differs", True)
    with pytest.raises(Conflict) as caught:
        plans.update_plan(plan=house.plan, changes={"isolation_tier": "schema"}, **WHO)
    assert caught.value.code == "plan_in_use"
    bigger = own_plan(connection_limit=200)
    act(services.update_tenant, tenant, changes={"plan": bigger.slug})
    with connect(house.cluster.dsn()) as link:
        row = link.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", [f"{tenant.schema_name}_rw_a"]
        ).fetchone()
    assert row == (200,)
    for operation in services.apply_plan(plan=bigger, **WHO):
        operations.work(operation.pk)
        assert Operation.objects.get(pk=operation.pk).result == {"tenants": 1}
        assert operation.cluster == house.cluster
    with pytest.raises(Conflict) as caught:
        house.begin(cluster=tenant.cluster.name)
    assert caught.value.code == "cluster_dedicated"
    house.purge(tenant)
