"""Databases of tenants' own behind the pooler of their server."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from provisioning import credentials, services
from tenants import databases, operations, plans
from tenants.models import Operation, Tenant
from tests.pooling.support import WHO, Front, direct, needs_pgbouncer, through
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer


def own_tenant(front: Front, **values: Any) -> tuple[Tenant, Any]:
    """An active tenant with a database of its own, and its connection."""
    plan = plans.create_plan(slug=fresh_slug("own"), name="Own", isolation_tier="database", **values, **WHO)
    made = services.provision_tenant(
        name="Own", slug=fresh_slug(), cluster=front.cluster.name, template=front.template.template.name,
        plan=plan.slug, **WHO,
    )  # fmt: skip
    operations.work(made.operation.pk)
    done = Operation.objects.get(pk=made.operation.pk)
    assert done.state == "succeeded", done.error
    return Tenant.objects.get(pk=made.tenant.pk), credentials.collect_credentials(operation_id=done.pk, **WHO)


def test_it_is_reached_through_its_servers_pooler_and_by_nobody_else(front: Front) -> None:
    tenant, connection = own_tenant(front)
    shared = front.tenant()
    assert (connection.host, connection.port) == ("127.0.0.1", front.bouncer.port)
    with through(connection) as session:
        assert session.execute("SELECT current_database()").fetchone() == (tenant.schema_name,)
        session.execute("INSERT INTO customers (name) VALUES ('x')")
    for one, other in ((shared.connection, connection), (connection, shared.connection)):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no such user"):
            through(one, dbname=other.dbname)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(one.dsn, host=front.cluster.dsn().host, port=front.cluster.dsn().port, dbname=other.dbname)
    with through(connection) as session:
        services.suspend_tenant(tenant_id=tenant.pk, **WHO)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    services.resume_tenant(tenant_id=tenant.pk, **WHO)
    with through(connection) as session:
        assert session.execute("SELECT count(*) FROM customers WHERE name = 'x'").fetchone() == (1,)
    assert f"{tenant.schema_name} = " in front.bouncer.tenants_file.read_text()
    own = tenant.cluster
    purge = services.purge_tenant(
        tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="end", force=True, **WHO
    ).operation
    operations.work(purge.pk)
    assert Operation.objects.get(pk=purge.pk).state == "succeeded"
    assert databases.is_gone(own)
    with pytest.raises(psycopg.OperationalError):
        direct(front, connection)
