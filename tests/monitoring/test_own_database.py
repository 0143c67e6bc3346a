"""Tenants in databases of their own are seen from the server that these are on, by as many statements."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from monitoring import sweep
from monitoring.models import TenantActivity, TenantSize
from provisioning import credentials, services
from tenants import operations, plans
from tenants.models import Tenant
from tests.isolation.arena import SERVERS, cluster_at
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@pytest.mark.parametrize("major", [18, 15])
def test_a_tenants_own_database_is_seen_from_its_server(major: int, template: Any) -> None:
    if SERVERS[major].missing:
        pytest.skip(SERVERS[major].missing)
    with cluster_at(SERVERS[major], "lockdown") as cluster:
        alone = {one.probe: one.queries for one in sweep.sweep_cluster(cluster)}
        plan = plans.create_plan(
            slug=fresh_slug("own"), name="Own", isolation_tier="database", connection_limit=77,
            storage_quota_bytes=2**31, **WHO,
        )  # fmt: skip
        made = services.provision_tenant(
            name="Own", slug=fresh_slug(), cluster=cluster.name, template=template.template.name, plan=plan.slug, **WHO
        )
        operations.work(made.operation.pk)
        tenant = Tenant.objects.get(pk=made.tenant.pk)
        connection = credentials.collect_credentials(operation_id=made.operation.pk, **WHO)
        sweep.sweep_cluster(cluster, ["activity"])
        with psycopg.connect(connection.dsn, autocommit=True) as session:
            for _ in range(4):
                session.execute("SELECT 1")
            outcomes = {one.probe: one for one in sweep.sweep_cluster(cluster)}
        assert not [one for one in outcomes.values() if one.error]
        assert {name: one.queries for name, one in outcomes.items() if name != "server"} == {
            name: queries for name, queries in alone.items() if name != "server"
        }
        seen = TenantActivity.objects.get(tenant_id=tenant.pk, taken_at=outcomes["activity"].taken_at)
        assert (seen.cluster_id, seen.connections, seen.connection_limit) == (cluster.pk, 1, 77)
        assert seen.calls >= 4
        size = TenantSize.objects.get(tenant_id=tenant.pk, taken_at=outcomes["sizes"].taken_at)
        assert size.total_bytes > 5_000_000
        assert (size.quota_bytes, size.table_bytes) == (2**31, None)
        assert size.xid_age > 0
