"""The newest figure of each subject, with when it was taken; nothing old passes for new."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from monitoring import partitions, readings
from monitoring.catalogue import Metric, Scope, metric
from monitoring.models import FleetSampleDaily, ProbeState, TenantActivity, TenantActivity5m
from tenants import facts
from tenants.models import Cluster

RATIO = metric("tenant", "connections_used_ratio")


@pytest.fixture
def cluster() -> Any:
    made = Cluster.objects.create(name=f"seen-{uuid.uuid4().hex[:8]}", host="127.0.0.1", port=1, dbname="nowhere")
    yield made
    made.delete()


def look(cluster: Cluster, at: datetime, tenants: dict[uuid.UUID, tuple[int | None, int | None]]) -> None:
    """A look of the probe at the cluster, as its writer leaves it."""
    partitions.ensure(TenantActivity, [at])
    TenantActivity.objects.bulk_create(
        TenantActivity(taken_at=at, cluster_id=cluster.pk, tenant_id=tenant, connections=used, connection_limit=limit)
        for tenant, (used, limit) in tenants.items()
    )
    ProbeState.objects.update_or_create(
        cluster=cluster, probe="activity", defaults={"tried_at": at, "ok_at": at, "error": ""}
    )


def of(cluster: Cluster, metric: Metric = RATIO) -> dict[Any, float]:
    return {one.tenant: one.value for one in readings.latest(metric) if one.cluster == cluster.pk}


def test_the_last_look_counts_and_what_it_did_not_see_is_no_figure(cluster: Cluster) -> None:
    first, second, third = (uuid.uuid4() for _ in range(3))
    now = timezone.now()
    look(cluster, now - timedelta(minutes=1), {first: (50, 50), second: (1, 50)})
    look(cluster, now, {first: (40, 50), second: (None, 50), third: (3, 0)})
    assert of(cluster) == {first: 0.8}
    [reading] = [one for one in readings.latest(RATIO) if one.tenant == first]
    assert reading.taken_at == now
    assert readings.latest_of_tenant(first)["connections"].value == 40
    assert "connections" not in readings.latest_of_tenant(second)


def test_what_is_old_is_not_a_figure_of_now(cluster: Cluster) -> None:
    tenant = uuid.uuid4()
    look(cluster, timezone.now() - readings.FRESH - timedelta(seconds=5), {tenant: (50, 50)})
    assert of(cluster) == {}
    assert readings.latest_of_tenant(tenant) == {}


def test_the_number_of_queries_does_not_depend_on_tenants(cluster: Cluster, django_assert_num_queries: Any) -> None:
    look(cluster, timezone.now(), {uuid.uuid4(): (1, 50) for _ in range(300)})
    with django_assert_num_queries(2):
        assert len(of(cluster)) == 300


def test_facts_are_asked_of_who_knows_them(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = uuid.uuid4()
    monkeypatch.setitem(facts._sources, "tenant.backup_failed", lambda: [facts.Fact(1, tenant=tenant)])
    [reading] = readings.latest(metric("tenant", "backup_failed"))
    assert (reading.tenant, reading.value) == (tenant, 1.0)


def test_partitions_are_made_once_and_dropped_when_all_of_them_is_too_old() -> None:
    old = datetime(2021, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    for model in (TenantActivity, TenantActivity5m, FleetSampleDaily):
        partitions.ensure(model, [old, old])
        partitions.ensure(model, [old])
    assert partitions.bounds(TenantActivity5m, old) == (
        datetime(2021, 12, 1, tzinfo=UTC),
        datetime(2022, 1, 1, tzinfo=UTC),
    )
    kept = partitions.drop_old(old + timedelta(days=1))
    assert not [name for name in kept if "2021" in name]
    dropped = partitions.drop_old(old + timedelta(days=8))
    assert dropped == ["monitoring_tenant_activity_20211231"]
    partitions.ensure(TenantActivity, [old])
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('monitoring_tenant_activity_20211231') IS NOT NULL")
        assert cursor.fetchone() == (True,)
    rest = partitions.drop_old(datetime(2024, 2, 1, tzinfo=UTC))
    assert {"monitoring_tenant_activity_5m_202112", "monitoring_fleet_daily_2021"} <= set(rest)


def test_a_partition_that_was_rolled_back_is_made_again() -> None:
    at = datetime(2020, 6, 1, tzinfo=UTC)
    with transaction.atomic():
        partitions.ensure(TenantActivity, [at])
        transaction.set_rollback(True)
    partitions.ensure(TenantActivity, [at])
    TenantActivity.objects.create(taken_at=at, cluster_id=1, tenant_id=uuid.uuid4())


def test_every_metric_has_a_name_of_its_own_and_a_source() -> None:
    from monitoring.catalogue import _METRICS, METRICS

    assert len(METRICS) == len(_METRICS) == len({one.prometheus for one in _METRICS})
    for one in METRICS.values():
        assert one.help.endswith(".")
        assert (one.sample is None) == (one.value is None)
        assert one.scope in Scope
