"""What is made of samples is what they say: compared with a few lines of Python; done again; with what came late."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring import partitions, rollups
from monitoring.models import (
    ClusterSample,
    FleetSample,
    TenantActivity,
    TenantActivity5m,
    TenantActivityDaily,
    TenantSize,
)
from monitoring.models.samples import Sample
from monitoring.rollups import DAY, FIVE, HOW, How

# No other test is in those years.
BEGIN = datetime(2012, 3, 4, 23, 0, tzinfo=UTC)
LATEST = 150 * 60
VALUES = st.one_of(st.none(), st.integers(0, 10**9))
LOOKS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, LATEST - 1), VALUES, VALUES, VALUES), max_size=40,
    unique_by=lambda look: look[:2],
)  # fmt: skip


def write(model: type[Sample], rows: list[Any]) -> None:
    partitions.ensure(model, [row.taken_at for row in rows])
    model._default_manager.bulk_create(rows)


def sample(tenant: uuid.UUID, second: int, calls: Any, connections: Any, limit: Any) -> TenantActivity:
    return TenantActivity(
        tenant_id=tenant, cluster_id=second % 3, taken_at=BEGIN + timedelta(seconds=second), calls=calls,
        connections=connections, connection_limit=limit, total_seconds=None if calls is None else calls / 8,
    )  # fmt: skip


def reference(rows: list[Any], length: timedelta) -> dict[Any, dict[str, Any]]:
    """The same in Python: what each column's rule says, of what is not null."""
    spans: dict[Any, list[Any]] = {}
    for row in sorted(rows, key=lambda row: row.taken_at):
        spans.setdefault((row.tenant_id, rollups.floor(row.taken_at, length)), []).append(row)
    rule = {How.MAX: max, How.MIN: min, How.SUM: sum, How.LAST: lambda values: values[-1]}
    made = {}
    for key, inside in spans.items():
        made[key] = {"cluster_id": inside[-1].cluster_id}
        for name, how in HOW[TenantActivity].items():
            values = [getattr(row, name) for row in inside if getattr(row, name) is not None]
            made[key][name] = rule[how](values) if values else None
    return made


def found(model: type[Sample], tenants: list[uuid.UUID]) -> dict[Any, dict[str, Any]]:
    rows = model._default_manager.filter(tenant_id__in=tenants)
    return {
        (row.tenant_id, row.taken_at): {name: getattr(row, name) for name in ("cluster_id", *HOW[TenantActivity])}
        for row in rows
    }


def roll(end: datetime = BEGIN + timedelta(seconds=LATEST)) -> int:
    return rollups.roll_up_span(TenantActivity, TenantActivity, TenantActivity5m, FIVE, BEGIN, end)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=LOOKS, late=LOOKS)
def test_a_rollup_says_what_its_samples_say(first: Any, late: Any) -> None:
    tenants = [uuid.uuid4() for _ in range(3)]
    early = [sample(tenants[who], *rest) for who, *rest in first]
    write(TenantActivity, early)
    roll()
    assert found(TenantActivity5m, tenants) == reference(early, FIVE.length)
    roll()
    assert found(TenantActivity5m, tenants) == reference(early, FIVE.length)
    taken = {(look[0], look[1]) for look in first}
    more = [sample(tenants[who], *rest) for who, *rest in late if (who, rest[0]) not in taken]
    write(TenantActivity, more)
    roll()
    made = reference([*early, *more], FIVE.length)
    assert found(TenantActivity5m, tenants) == made
    days = (rollups.floor(BEGIN, DAY.length), rollups.floor(BEGIN, DAY.length) + 2 * DAY.length)
    rollups.roll_up_span(TenantActivity, TenantActivity5m, TenantActivityDaily, DAY, *days)
    daily = found(TenantActivityDaily, tenants)
    whole = reference([*early, *more], DAY.length)
    assert daily.keys() == whole.keys()
    for key, values in whole.items():
        assert {**daily[key], "total_seconds": None} == {**values, "total_seconds": None}
        assert daily[key]["total_seconds"] == pytest.approx(values["total_seconds"])


@pytest.mark.parametrize("model", [TenantActivity, TenantSize, ClusterSample, FleetSample])
def test_every_column_says_how_it_is_rolled_up(model: type[Sample]) -> None:
    columns = {field.attname for field in model._meta.concrete_fields}
    assert columns - {"tenant_id", "cluster_id", "taken_at"} == set(HOW[model])


def test_only_what_is_over_is_made_and_an_outage_is_caught_up_with_in_parts() -> None:
    """In a year of its own, as the only one who rolls up there."""
    now = datetime(2011, 6, 15, 12, 7, 30, tzinfo=UTC)
    old, long_ago, lately, running = (
        now - timedelta(days=days, minutes=minutes) for days, minutes in ((4, 0), (3, 0), (0, 4), (0, 1))
    )
    tenant = uuid.uuid4()
    rows = [
        TenantActivity(tenant_id=tenant, cluster_id=1, taken_at=at, calls=1) for at in (old, long_ago, lately, running)
    ]
    write(TenantActivity, rows)
    _only(now)

    def made() -> list[datetime]:
        mine = TenantActivity5m.objects.filter(tenant_id=tenant)
        return sorted(mine.values_list("taken_at", flat=True))

    expected = [rollups.floor(at, FIVE.length) for at in (old, long_ago, lately)]
    for number in (1, 2, 3):
        assert rollups.roll_up(now) >= 1
        assert made() == expected[:number]
    rollups.roll_up(now)
    assert made() == expected
    late = TenantActivity(tenant_id=tenant, cluster_id=1, taken_at=lately - timedelta(minutes=5), calls=5)
    write(TenantActivity, [late])
    rollups.roll_up(now)
    assert TenantActivity5m.objects.get(tenant_id=tenant, taken_at=expected[2] - FIVE.length).calls == 5
    rollups.roll_up(now + timedelta(minutes=5))
    assert made()[-1] == rollups.floor(running, FIVE.length)
    rollups.roll_up_days(now)
    assert not TenantActivityDaily.objects.filter(tenant_id=tenant, taken_at__gte=now - timedelta(days=1)).exists()
    rollups.roll_up_days(now + timedelta(days=1))
    rollups.roll_up_days(now + timedelta(days=1))
    today = TenantActivityDaily.objects.get(tenant_id=tenant, taken_at=rollups.floor(now, DAY.length))
    assert today.calls == 7


def _only(now: datetime) -> None:
    """The other kinds of samples have nothing there."""
    for model in (TenantSize, ClusterSample, FleetSample):
        assert not model._default_manager.filter(taken_at__range=(now - timedelta(days=8), now)).exists()


def test_what_was_made_outlives_its_samples() -> None:
    tenant, at = uuid.uuid4(), datetime(2010, 5, 5, 5, 5, tzinfo=UTC)
    write(TenantActivity, [TenantActivity(tenant_id=tenant, cluster_id=1, taken_at=at, calls=3)])
    rollups.roll_up_span(TenantActivity, TenantActivity, TenantActivity5m, FIVE, at, at + FIVE.length)
    dropped = partitions.drop_old(at + timedelta(days=10))
    assert "monitoring_tenant_activity_20100505" in dropped
    assert TenantActivity5m.objects.get(tenant_id=tenant).calls == 3
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM monitoring_tenant_activity WHERE tenant_id = %s", [tenant])
        assert cursor.fetchone() == (0,)
