"""A cluster of a tenant's own: one that is reserved is taken by one, and given back empty."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from provisioning import credentials, pool, services
from tenants import clusters, operations, plans
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import AuditEvent, Cluster, Operation, Plan, Tenant
from tests.isolation.arena import SERVERS, empty_cluster
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, leftovers
from tests.support.fixtures import fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@pytest.fixture(scope="module")
def own(plan: Any) -> Plan:
    """A plan whose tenants have a cluster of their own."""
    return plans.create_plan(slug=fresh_slug("whole"), name="Whole", isolation_tier="cluster", **WHO)


@pytest.fixture
def reserved() -> Iterator[Cluster]:
    """A registered cluster, empty, for one tenant."""
    if SERVERS[18].missing:
        pytest.skip(SERVERS[18].missing)
    with empty_cluster(SERVERS[18], dedicated=True) as cluster:
        yield cluster


def begin(template: Any, own: Plan, **options: Any) -> services.Provisioned:
    return services.provision_tenant(
        name="Whole", slug=fresh_slug(), **{"template": template.template.name, "plan": own.slug, **options}, **WHO
    )


def test_the_whole_life(template: Any, own: Plan, reserved: Cluster) -> None:
    made = begin(template, own)
    assert (made.tenant.cluster, made.tenant.state) == (reserved, "provisioning")
    operations.work(made.operation.pk)
    connection = credentials.collect_credentials(operation_id=made.operation.pk, **WHO)
    assert connection.dbname == reserved.dbname
    assert can_log_in(connection)
    with pytest.raises(Conflict) as caught:
        begin(template, own)
    assert (caught.value.code, "--dedicated" in (caught.value.hint or "")) == ("no_free_cluster", True)
    with pytest.raises(Conflict):
        clusters.update_cluster(cluster=Cluster.objects.get(pk=reserved.pk), changes={"dedicated": False}, **WHO)
    tenant = Tenant.objects.get(pk=made.tenant.pk)
    purge = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="end", force=True)
    operations.work(purge.operation.pk)
    assert Operation.objects.get(pk=purge.operation.pk).state == "succeeded"
    assert leftovers(reserved, tenant.schema_name) == []
    reserved.refresh_from_db()
    assert (reserved.dedicated, reserved.dedicated_to) == (True, None)
    actions = AuditEvent.objects.filter(target_id=str(reserved.pk)).order_by("id").values_list("action", flat=True)
    assert list(actions)[-2:] == ["cluster.take", "cluster.give_back"]
    again = begin(template, own, cluster=reserved.name)
    assert again.tenant.cluster == reserved
    operations.cancel(again.operation, **WHO)
    reserved.refresh_from_db()
    assert reserved.dedicated_to is None, "given back by the undoing"
    retried = operations.retry(Operation.objects.get(pk=again.operation.pk), **WHO)
    reserved.refresh_from_db()
    assert reserved.dedicated_to == again.tenant
    operations.cancel(retried, **WHO)


def test_nobody_else_is_placed_there(template: Any, own: Plan, reserved: Cluster, cluster: Cluster) -> None:
    with pytest.raises(Conflict) as caught:
        begin(template, own, plan=None, cluster=reserved.name)
    assert caught.value.code == "cluster_dedicated"
    with pytest.raises(InvalidInput) as refused:
        begin(template, own, cluster=cluster.name)
    assert refused.value.field == "cluster"
    assert reserved.pk not in {level.cluster.pk for level in pool.levels()}
    reserved.state = Cluster.State.DISABLED
    reserved.save()
    with pytest.raises(Conflict) as none:
        begin(template, own)
    assert none.value.code == "no_free_cluster"


def test_of_many_who_ask_at_once_one_gets_it(template: Any, own: Plan, reserved: Cluster) -> None:
    def ask(_: int) -> str:
        try:
            return str(begin(template, own).tenant.pk)
        except Conflict as error:
            return error.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(8)))
    assert answers.count("no_free_cluster") == 7
    reserved.refresh_from_db()
    assert str(reserved.dedicated_to_id) in answers
    for operation in Operation.objects.filter(tenant=reserved.dedicated_to):
        operations.cancel(operation, **WHO)


def test_a_cluster_with_tenants_cannot_be_reserved(template: Any, cluster: Cluster) -> None:
    with pytest.raises(Conflict) as caught:
        clusters.update_cluster(cluster=cluster, changes={"dedicated": True}, **WHO)
    assert caught.value.code == "cluster_inhabited"
