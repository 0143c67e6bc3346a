"""The reaper of a server watches tenants' own databases there too, each by its tenant's plan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from provisioning import credentials, services
from tenants import operations, plans
from tenants.models import Cluster, Operation, Tenant
from tenants.models.clusters import ClusterLogin
from tenants.postgres import connect
from tenants.reaping import reap_cluster
from tests.isolation.arena import SERVERS, cluster_at
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@pytest.fixture(params=[18, 15])
def cluster_of_its_own(request: pytest.FixtureRequest, template: Any) -> Iterator[Cluster]:
    if SERVERS[request.param].missing:
        pytest.skip(SERVERS[request.param].missing)
    with cluster_at(SERVERS[request.param], "lockdown") as cluster:
        yield cluster


def test_a_session_beyond_its_plan_is_ended_in_a_database_of_ones_own(
    cluster_of_its_own: Cluster, template: Any
) -> None:
    cluster = cluster_of_its_own
    plan = plans.create_plan(
        slug=fresh_slug("own"), name="Own", isolation_tier="database", statement_timeout_ms=300,
        idle_in_transaction_timeout_ms=60_000, **WHO,
    )  # fmt: skip
    made = services.provision_tenant(
        name="Own", slug=fresh_slug(), cluster=cluster.name, template=template.template.name, plan=plan.slug, **WHO
    )
    operations.work(made.operation.pk)
    tenant = Tenant.objects.get(pk=made.tenant.pk)
    connection = credentials.collect_credentials(operation_id=made.operation.pk, **WHO)
    with (
        psycopg.connect(connection.dsn, autocommit=True) as session,
        psycopg.connect(connection.dsn) as waiting,
        connect(cluster.dsn(ClusterLogin.Purpose.REAPER), autocommit=True) as reaper,
        ThreadPoolExecutor(1) as thread,
    ):
        session.execute("SET statement_timeout = 0")
        waiting.execute("SELECT 1")  # idle in its transaction, and within its time
        sleeping = thread.submit(session.execute, "SELECT pg_sleep(30)")
        time.sleep(1)
        look = reap_cluster(cluster, reaper, databases=[tenant.schema_name])
        assert [(one.candidate.rule, one.tenant) for one in look.reaped] == [("statement_too_long", tenant)]
        with pytest.raises(psycopg.OperationalError):
            sleeping.result(timeout=10)
        assert waiting.execute("SELECT 1").fetchone() == (1,)
    purge = services.purge_tenant(
        tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="end", force=True, **WHO
    ).operation
    operations.work(purge.pk)
    assert Operation.objects.get(pk=purge.pk).state == "succeeded"
