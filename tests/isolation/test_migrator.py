"""The migrator: let in for a window, watched while it is, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from provisioning import maintenance, pool, services
from provisioning.models import MigratorWindow
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import AuditEvent, Tenant
from tenants.postgres import connect
from tenants.schemas import roles
from tests.commands.support import call
from tests.isolation.arena import SERVERS, cluster_at, superuser
from tests.provisioning.support import can_log_in
from tests.rest.support import problem, wrong_fields
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

BY: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@pytest.fixture(scope="module", params=sorted(SERVERS, reverse=True), ids=lambda major: f"pg{major}")
def tenant(request: pytest.FixtureRequest, template: Any) -> Iterator[Tenant]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        pool.fill_one(cluster, template, 1)
        made = services.provision_tenant(
            name="Migrates", slug=fresh_slug(), template=template.template.name, cluster=cluster.name, **BY
        )
        yield made.tenant


@pytest.fixture
def window(tenant: Tenant) -> Iterator[services.Connection]:
    yield services.open_migrator(tenant_id=tenant.pk, reason="a test", **BY).connection
    services.close_migrator(tenant_id=tenant.pk, **BY)


def test_the_control_planes_own_work_does_not_pay_for_the_guard(tenant: Tenant) -> None:
    """Within the transaction that acts as the owner, unless somebody else has event triggers there."""
    server = SERVERS[tenant.cluster.server_version_num // 10000]
    can_be_off = "off" if server.major >= 17 else None
    triggers = "SELECT current_setting('event_triggers', true)"
    with connect(tenant.cluster.work_dsn()) as session:
        with roles.as_owner(session, tenant.schema_name):
            assert session.execute(triggers).fetchone() == (can_be_off,)
        session.commit()
        assert session.execute(triggers).fetchone() == ("on" if can_be_off else None,)
    with superuser(server, tenant.cluster.dbname) as admin:
        admin.execute("CREATE FUNCTION public.theirs() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        admin.execute("CREATE EVENT TRIGGER theirs ON ddl_command_end EXECUTE FUNCTION public.theirs()")
        try:
            with connect(tenant.cluster.work_dsn()) as session, roles.as_owner(session, tenant.schema_name):
                assert session.execute(triggers).fetchone() == ("on" if can_be_off else None,)
        finally:
            admin.execute("DROP EVENT TRIGGER theirs")
            admin.execute("DROP FUNCTION public.theirs()")


def test_by_rest(tenant: Tenant, api_client: Any) -> None:
    client, path = api_client("migrators:write", "tenants:read"), f"tenants/{tenant.pk}/migrator"
    assert wrong_fields(client.post(path, {"minutes": 0})) == {"minutes", "reason"}
    answer = client.post(path, {"minutes": 5, "reason": "a test"})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    opened = answer.json()
    with psycopg.connect(opened["connection"]["dsn"], autocommit=True) as session:
        assert session.execute("SELECT current_user").fetchone() == (f"{tenant.schema_name}_owner",)
    problem(client.post(path, {"reason": "again"}), 409, "migrator_open")
    shown = client.get(path).json()
    assert (shown["closed_at"], "connection" in shown) == (None, False)
    closed = client.delete(path).json()
    assert (closed["findings"], closed["closed_at"] is None) == ("", False)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(opened["connection"]["dsn"])
    problem(client.delete(path), 404, "not_found")


def as_superuser(tenant: Tenant, query: str) -> list[Any]:
    server = SERVERS[tenant.cluster.server_version_num // 10000]
    with superuser(server, tenant.cluster.dbname) as session:
        return session.execute(query).fetchall()


def test_what_it_makes_is_the_owners_and_protected(tenant: Tenant, window: services.Connection) -> None:
    schema = tenant.schema_name
    with psycopg.connect(window.dsn, autocommit=True) as session:
        session.execute("CREATE TABLE made_late (id int PRIMARY KEY, at date) PARTITION BY RANGE (id)")
        session.execute("CREATE TABLE made_late_1 PARTITION OF made_late FOR VALUES FROM (0) TO (10)")
        session.execute("CREATE TABLE made_as AS SELECT 1 AS id")
        session.execute("ALTER TABLE customers ADD COLUMN late text")
        session.execute("CREATE FUNCTION late() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        session.execute("INSERT INTO made_as VALUES (2)")
    found = as_superuser(
        tenant,
        "SELECT c.relname, c.relowner::regrole::text, c.relrowsecurity AND c.relforcerowsecurity,"
        " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) FROM pg_class c"
        f" WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname LIKE 'made%' AND c.relkind IN ('r', 'p')",
    )
    assert sorted(found) == [(name, f"{schema}_owner", True, 2) for name in ("made_as", "made_late", "made_late_1")]
    assert services.close_migrator(tenant_id=tenant.pk, **BY).findings == ""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE customers NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_rw ON customers",
        "GRANT SELECT ON customers TO PUBLIC",
        "GRANT SELECT (name) ON customers TO PUBLIC",
        "GRANT TRUNCATE ON customers TO {s}_rw",
        "GRANT USAGE ON SCHEMA {s} TO PUBLIC",
        "GRANT CREATE ON SCHEMA {s} TO {s}_rw",
        "CREATE FUNCTION trap() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "DROP SCHEMA {s} CASCADE",
        "ALTER SCHEMA {s} RENAME TO elsewhere",
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE public.elsewhere (id int)",
        "SET ROLE NONE; CREATE TABLE mine (id int)",
    ],
)
def test_what_would_open_the_schema_is_refused(tenant: Tenant, window: services.Connection, statement: str) -> None:
    with psycopg.connect(window.dsn, autocommit=True) as session, pytest.raises(psycopg.Error) as caught:
        session.execute(statement.format(s=tenant.schema_name))
    assert caught.value.sqlstate in ("42501", "3F000"), caught.value


def test_it_ends_with_its_time_with_suspension_and_by_hand(tenant: Tenant) -> None:
    opened = services.open_migrator(tenant_id=tenant.pk, minutes=5, reason="release", **BY)
    assert can_log_in(opened.connection)
    with pytest.raises(Conflict):
        services.open_migrator(tenant_id=tenant.pk, reason="twice", **BY)
    with psycopg.connect(opened.connection.dsn, autocommit=True) as session:
        MigratorWindow.objects.filter(pk=opened.window.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert maintenance.close_migrators() >= 1
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not can_log_in(opened.connection)
    assert as_superuser(tenant, f"SELECT 1 FROM pg_roles WHERE rolname = '{tenant.schema_name}_mig'") == []

    made = call("open_migrator", tenant.slug, "--reason", "by command", "--minutes", "3")
    services.suspend_tenant(tenant_id=tenant.pk, **BY)
    assert MigratorWindow.objects.filter(tenant=tenant, closed_at__isnull=True).count() == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(made["connection"]["dsn"])
    with pytest.raises(Conflict):
        services.open_migrator(tenant_id=tenant.pk, reason="suspended", **BY)
    services.resume_tenant(tenant_id=tenant.pk, **BY)
    assert call("close_migrator", tenant.slug)["closed"] is False
    actions = AuditEvent.objects.filter(tenant_id=tenant.pk, action__startswith="migrator.")
    assert set(actions.values_list("action", flat=True)) == {"migrator.open", "migrator.close"}


def test_the_server_itself_ends_a_window_when_nobody_else_does(tenant: Tenant) -> None:
    opened = services.open_migrator(tenant_id=tenant.pk, minutes=1, reason="beat is dead", **BY)
    query = "SELECT rolvaliduntil < now() + interval '2 min' FROM pg_roles WHERE rolname = "
    assert as_superuser(tenant, f"{query}'{opened.window.login}'") == [(True,)]
    services.close_migrator(tenant_id=tenant.pk, **BY)


@pytest.mark.parametrize("values", [{"reason": ""}, {"reason": "x", "minutes": 0}, {"reason": "x", "minutes": 1441}])
def test_it_needs_a_reason_and_an_end(tenant: Tenant, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        services.open_migrator(tenant_id=tenant.pk, **values, **BY)


def test_without_the_guard_nobody_is_let_in(template: Any, cluster: Any) -> None:
    pool.fill_one(cluster, template, 1)
    made = services.provision_tenant(name="Open", slug=fresh_slug(), template=template.template.name, **BY)
    with pytest.raises(Conflict) as caught:
        services.open_migrator(tenant_id=made.tenant.pk, reason="no guard here", **BY)
    assert caught.value.code == "guard_missing"
