"""A tenant on another cluster, of another PostgreSQL major: the same life."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from provisioning import credentials, pool, services, slots
from tenants import clusters, operations, schemas
from tenants.exceptions import ClusterUnavailable, ClusterUnusable, Conflict, InvalidInput
from tenants.models import AuditEvent, Cluster, Operation, Tenant
from tenants.postgres import connect
from tenants.schemas import ddl
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, leftovers, log_in
from tests.support.fixtures import fresh_slug

URL = os.environ.get("POSTGRES15_URL", "")
needs_15 = pytest.mark.skipif(not URL, reason="no PostgreSQL 15: run with --with-postgres15")


def address(**changes: Any) -> dict[str, Any]:
    """What an operator would type to register the PostgreSQL 15."""
    url = urlsplit(URL)
    given = {"host": url.hostname, "port": url.port, "username": url.username, "password": url.password}
    return {"name": fresh_slug("old"), **given, "actor": ACTOR, "source": SOURCE, **changes}


@pytest.fixture
def database() -> Iterator[str]:
    """A database of this test's own on the other cluster, dropped afterwards with its tenants' roles."""
    name = fresh_slug("cp_other").replace("-", "_")
    with psycopg.connect(URL, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}")
    yield name
    for schema in Tenant.objects.filter(cluster__dbname=name).values_list("schema_name", flat=True):
        found = Cluster.objects.get(dbname=name)
        slots.remove_from_cluster(found, schema)
    with psycopg.connect(URL, autocommit=True) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@needs_15
def test_a_tenant_lives_on_postgresql_15_as_on_18(template: Any, database: str) -> None:
    cluster = clusters.register_cluster(**address(dbname=database))
    assert cluster.server_version.startswith("15.")
    assert AuditEvent.objects.filter(action="cluster.register", target_id=str(cluster.pk)).exists()
    with pytest.raises(Conflict) as caught:
        clusters.register_cluster(**address(dbname=database))
    assert caught.value.code == "cluster_known"

    assert pool.fill_one(cluster, template, 1)
    template.refresh_from_db()
    assert set(template.fingerprints) == {"18", "15"}, "measured on its own server, since catalogs differ"
    values = {"template": template.template.name, "cluster": cluster.name, "actor": ACTOR, "source": SOURCE}
    warm = services.provision_tenant(name="Old", slug=fresh_slug(), **values)
    cold = services.provision_tenant(name="Old", slug=fresh_slug(), **values)
    assert (warm.tenant.state, cold.tenant.state) == ("active", "provisioning")
    operations.work(cold.operation.pk)
    connection = credentials.collect_credentials(operation_id=cold.operation.pk, actor=ACTOR, source=SOURCE)
    for one in (warm.connection, connection):
        with log_in(one) as session:
            assert session.info.server_version // 10000 == 15
            session.execute("INSERT INTO customers (name) VALUES ('x')")
    act(services.suspend_tenant, warm.tenant)
    assert not can_log_in(warm.connection)
    act(services.resume_tenant, warm.tenant)
    new = act(services.rotate_credentials, warm.tenant, overlap_minutes=0).connection
    assert (can_log_in(new), can_log_in(warm.connection)) == (True, False)
    purge = act(services.purge_tenant, warm.tenant, confirm_slug=warm.tenant.slug, reason="end", force=True)
    operations.work(purge.operation.pk)
    assert Operation.objects.get(pk=purge.operation.pk).state == "succeeded"
    assert leftovers(cluster, warm.tenant.schema_name) == []

    clusters.update_cluster(cluster=cluster, changes={"state": "disabled"}, actor=ACTOR, source=SOURCE)
    with pytest.raises(Conflict) as caught:
        services.provision_tenant(name="Old", slug=fresh_slug(), **values)
    assert caught.value.code == "cluster_disabled"


@needs_15
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"password": "wrong", "dbname": "controlplane"}, ClusterUnavailable),
        ({"dbname": "there-is-no-such"}, ClusterUnavailable),
        ({"port": 1, "dbname": "controlplane"}, ClusterUnavailable),
        ({"sslmode": "nonsense", "dbname": "controlplane"}, InvalidInput),
        ({"name": "Not a name", "dbname": "controlplane"}, InvalidInput),
    ],
)
def test_an_unusable_cluster_is_refused_with_a_reason(changes: dict[str, Any], error: type[Exception]) -> None:
    before = Cluster.objects.count()
    with pytest.raises(error) as caught:
        clusters.register_cluster(**address(**changes))
    assert str(caught.value)
    assert str(changes.get("password", "no such text")) not in str(caught.value)
    assert Cluster.objects.count() == before


@needs_15
def test_a_login_without_the_rights_is_refused_with_the_statement_that_grants_them(database: str) -> None:
    role = fresh_slug("weak").replace("-", "_")
    with psycopg.connect(os.environ["POSTGRES15_SUPERUSER_URL"], autocommit=True) as session:
        session.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
        try:
            with pytest.raises(ClusterUnusable) as caught:
                clusters.register_cluster(**address(username=role, password="weak", dbname=database))
        finally:
            session.execute(f"DROP ROLE {role}")
    assert caught.value.hint == f"As superuser: ALTER ROLE {role} CREATEROLE;"


def test_a_schema_is_dropped_in_batches_whatever_refers_to_what(template: Any, cluster: Cluster) -> None:
    slot = slots.reserve(cluster, template)
    slots.create_roles(slot)
    name = slot.schema_name
    tables = [f"CREATE TABLE {name}.t{i} (id int PRIMARY KEY, next int)" for i in range(95)]
    links = [f"ALTER TABLE {name}.t{i} ADD FOREIGN KEY (next) REFERENCES {name}.t{(i + 1) % 95}" for i in range(95)]
    views = [f"CREATE VIEW {name}.v{i} AS SELECT * FROM {name}.t{i}" for i in range(10)]
    schemas_sql = ";".join([*tables, *links, *views])
    batches: list[int] = []
    with connect(cluster.dsn(), autocommit=True) as connection:
        schemas.clone(connection, name, schemas_sql, prove=lambda _: None, timeout_ms=60_000)
        schemas.drop(connection, name, on_batch=batches.append)
        schemas.drop(connection, name, on_batch=batches.append)  # again: nothing to do
    assert len(batches) >= 3
    assert max(batches) <= ddl.DROP_BATCH
    slots.remove(slot)
    assert leftovers(cluster, name) == []
