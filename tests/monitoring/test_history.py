"""Series for charts: the right table, at most 300 points, gaps as gaps, and one query, whatever the span."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring import history, partitions
from monitoring.bench import samples as invented
from monitoring.catalogue import metric
from monitoring.history.series import POINTS, bins
from monitoring.models import (
    TenantActivity,
    TenantActivity5m,
    TenantActivityDaily,
    TenantSize,
    TenantSizeDaily,
)
from tenants.models import Cluster, Operation

NOW = datetime(2031, 5, 20, 12, 7, 30, tzinfo=UTC)  # nobody else's samples are from then
MEAN = metric("tenant", "statement_mean_seconds")
CONNECTIONS = metric("tenant", "connections")
SIZE = metric("tenant", "size_bytes")


def activity(model: Any, tenant: uuid.UUID, at: datetime, **columns: Any) -> None:
    partitions.ensure(model, [at])
    model.objects.create(taken_at=at, cluster_id=1, tenant_id=tenant, **columns)


@pytest.mark.parametrize("span", history.SPANS.values(), ids=history.SPANS)
def test_a_line_has_at_most_300_points_and_the_last_one_is_now(span: history.Span) -> None:
    begin, step, count = bins(span, NOW)
    assert 2 <= count <= POINTS
    assert begin + step * (count - 1) <= NOW < begin + step * count
    assert begin + step * count - begin >= span.length


def test_what_was_not_seen_is_a_gap_and_a_bin_is_worked_out_from_its_sums() -> None:
    tenant = uuid.uuid4()
    begin, step, count = bins(history.SPANS["1h"], NOW, timedelta(minutes=2))
    third = begin + 2 * step
    activity(TenantActivity, tenant, third, calls=1, total_seconds=1.0, connections=4)
    activity(TenantActivity, tenant, third + timedelta(seconds=60), calls=9, total_seconds=1.0, connections=6)
    activity(TenantActivity, tenant, third + 3 * step, calls=0, total_seconds=0.0, connections=0)
    found = history.series([MEAN, CONNECTIONS], history.SPANS["1h"], subjects=[tenant], now=NOW)
    assert (found.begin, found.step, found.count) == (begin, step, count)
    mean, connections = found.lines
    assert mean.values[2] == pytest.approx(0.2)  # not the mean of 1.0 and 0.11
    assert connections.values[2:6] == [6.0, None, None, 0.0]  # peaks count
    assert mean.values[5] is None  # without a statement there is no mean
    assert set(connections.values[:2] + connections.values[6:]) == {None}
    assert found.taken_at == third + 3 * step


@pytest.mark.parametrize(
    ("span", "model"),
    [("24h", TenantActivity), ("7d", TenantActivity5m), ("30d", TenantActivity5m), ("1y", TenantActivityDaily)],
)
def test_longer_spans_come_from_coarser_tables(span: str, model: Any) -> None:
    tenant = uuid.uuid4()
    for number, one in enumerate((TenantActivity, TenantActivity5m, TenantActivityDaily), 1):
        activity(one, tenant, NOW.replace(hour=0, minute=0, second=0), connections=number * 10)
    [line] = history.series([CONNECTIONS], history.SPANS[span], subjects=[tenant], now=NOW).lines
    [value] = [value for value in line.values if value is not None]
    assert value == {TenantActivity: 10, TenantActivity5m: 20, TenantActivityDaily: 30}[model]


def test_samples_at_their_usual_pace_leave_no_gap_even_when_late() -> None:
    tenant = uuid.uuid4()
    for minute in range(70):
        activity(TenantActivity, tenant, NOW - timedelta(minutes=minute, seconds=(minute * 7) % 29), connections=minute)
    [line] = history.series([CONNECTIONS], history.SPANS["1h"], subjects=[tenant], now=NOW).lines
    assert None not in line.values


def test_a_chart_takes_one_query_however_many_lines(django_assert_num_queries: Any) -> None:
    tenants = [uuid.uuid4() for _ in range(20)]
    for tenant in tenants:
        activity(TenantActivity, tenant, NOW, connections=1)
    with django_assert_num_queries(1):
        found = history.series([CONNECTIONS, MEAN], history.SPANS["24h"], subjects=tenants, now=NOW)
    assert len(found.lines) == 40
    with pytest.raises(ValueError, match="one kind"):
        history.series([CONNECTIONS, SIZE], history.SPANS["24h"])


def test_without_samples_there_are_no_lines_and_no_time() -> None:
    found = history.series([CONNECTIONS], history.SPANS["24h"], subjects=[uuid.uuid4()], now=NOW)
    assert (found.lines, found.taken_at) == ([], None)


@pytest.fixture
def cluster() -> Any:
    made = Cluster.objects.create(name=f"seen-{uuid.uuid4().hex[:8]}", host="127.0.0.1", port=1, dbname="nowhere")
    yield made
    made.delete()


def test_the_top_is_of_the_last_look_and_none_that_is_old(cluster: Cluster) -> None:
    tenants = sorted(uuid.uuid4() for _ in range(7))
    now = timezone.now()
    for at in (now - timedelta(minutes=5), now):
        invented.invent(
            TenantSize, TenantSize, cluster=cluster.pk, tenants=tenants, begin=at, end=at, every=timedelta(minutes=1)
        )
    invented.looked(TenantSize, cluster.pk, now)
    with CaptureQueriesContext(connection) as captured:
        found = history.top(SIZE, 3, cluster=cluster.pk)
    assert len(captured) == 2
    assert [one.tenant for one in found] == tenants[:-4:-1]
    assert {one.taken_at for one in found} == {now}
    invented.looked(TenantSize, cluster.pk, now - timedelta(hours=1))
    assert history.top(SIZE, 3, cluster=cluster.pk) == []


def test_growth_is_the_slope_of_the_daily_sizes(cluster: Cluster) -> None:
    tenants = [uuid.uuid4() for _ in range(3)]
    day = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    invented.invent(
        TenantSize, TenantSizeDaily, cluster=cluster.pk, tenants=tenants,
        begin=day - timedelta(days=9), end=day, every=timedelta(days=1),
    )  # fmt: skip
    once = uuid.uuid4()
    invented.invent(
        TenantSize, TenantSizeDaily, cluster=cluster.pk, tenants=[once], begin=day, end=day, every=timedelta(days=1)
    )
    found = history.fastest_growing(2, cluster=cluster.pk)
    assert [one.tenant for one in found] == tenants[:0:-1]
    assert found[0].bytes_per_day == pytest.approx(3 * 24 * 1024)
    assert found[0].days == 10
    of_one = history.growth_of(tenants[0])
    assert of_one is not None
    assert of_one.bytes_per_day == pytest.approx(24 * 1024)
    assert history.growth_of(once) is None


def test_creation_times_are_those_of_the_operations() -> None:
    now = datetime(2032, 3, 1, 12, tzinfo=UTC)
    for seconds, warm, state in (
        (0.2, True, "succeeded"), (0.3, True, "succeeded"), (9.0, False, "succeeded"), (30.5, False, "succeeded"),
        (99.0, False, "failed"),
    ):  # fmt: skip
        created = now - timedelta(hours=2)
        Operation.objects.create(
            kind="tenant.provision", state=state, actor_kind="command", actor_label="tests", channel="command",
            created_at=created, finished_at=created + timedelta(seconds=seconds), result={"warm": warm},
        )  # fmt: skip
    found = history.creations(history.SPANS["24h"], now=now)
    assert (found.all.count, found.warm.count, found.cold.count) == (4, 2, 2)
    assert (found.all.slow, found.all.too_slow, found.all.longest) == (2, 1, 30.5)
    assert found.warm.p50 == pytest.approx(0.25)
    assert found.all.p99 == pytest.approx(30.5 - 0.03 * 21.5)
    assert found.warm_buckets[:4] == [0, 0, 1, 1]
    assert (found.cold_buckets[9], found.cold_buckets[12]) == (1, 1)  # up to 10 s, up to 60 s
    assert (sum(found.warm_buckets), sum(found.cold_buckets)) == (2, 2)
    assert [value for value in found.longest if value is not None] == [30.5]
    assert history.creations(history.SPANS["1h"], now=now).all.count == 0
