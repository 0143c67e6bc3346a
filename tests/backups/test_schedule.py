"""When backups are due: cron in a time zone, over both changes of the clocks, spread over a window."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backups.policy import Policy
from backups.schedule import check_zone, next_moment, next_slot, offset, parse
from tenants.exceptions import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")
plain = datetime.fromisoformat
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]


def series(schedule: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    found, at = [], start
    while (at := next_moment(parse(schedule), zone, at)) < end:
        found.append(at)
    return found


def local(found: list[datetime], zone: ZoneInfo) -> list[str]:
    return [at.astimezone(zone).strftime("%d %H:%M %z") for at in found]


def test_a_time_that_is_skipped_in_spring_is_taken_once_after_the_jump() -> None:
    found = series("30 2 * * *", BERLIN, datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC))
    assert local(found, BERLIN) == ["28 02:30 +0100", "29 03:30 +0200", "30 02:30 +0200"]


def test_a_time_that_comes_twice_in_autumn_is_taken_once() -> None:
    found = series("30 2 * * *", BERLIN, datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
    assert local(found, BERLIN) == ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"]


@pytest.mark.parametrize("day", [datetime(2026, 3, 28, 20, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)])
def test_every_hour_is_every_hour_also_when_clocks_change(day: datetime) -> None:
    found = series("15 * * * *", BERLIN, day, day + timedelta(hours=12))
    assert len(found) == 12
    assert {b - a for a, b in zip(found, found[1:], strict=False)} == {timedelta(hours=1)}


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 23),
    st.integers(0, 59),
    st.sampled_from(ZONES),
    st.datetimes(plain("2005-01-01"), plain("2035-01-01"), timezones=st.just(UTC)),
)
def test_a_daily_schedule_fires_once_each_local_day(hour: int, minute: int, zone_name: str, start: datetime) -> None:
    zone = ZoneInfo(zone_name)
    found = series(f"{minute} {hour} * * *", zone, start, start + timedelta(days=40))
    assert all(start < a < b for a, b in zip(found, found[1:], strict=False))
    assert all(timedelta(hours=21) <= b - a <= timedelta(hours=27) for a, b in zip(found, found[1:], strict=False)
               if zone_name != "Pacific/Apia")  # it left out a whole day once  # fmt: skip
    assert max(Counter(at.astimezone(zone).date() for at in found).values()) <= 2
    off = [at for at in found if at.astimezone(zone).strftime("%H:%M") != f"{hour:02}:{minute:02}"]
    assert len(off) <= 1, "only where clocks jump is it another time of day"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), st.datetimes(plain("2005-01-01"), plain("2035-01-01"), timezones=st.just(UTC)))
def test_the_next_moment_does_not_depend_on_when_it_is_asked(zone_name: str, start: datetime) -> None:
    zone = ZoneInfo(zone_name)
    first = next_moment(parse("30 1,2 * * *"), zone, start)
    assert next_moment(parse("30 1,2 * * *"), zone, start + (first - start) / 2) == first
    assert next_moment(parse("30 1,2 * * *"), zone, first) > first


def test_days_of_month_and_of_week_are_either_as_in_cron() -> None:
    found = series(
        "0 0 13 * fri", ZoneInfo("UTC"), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    )
    assert [at.day for at in found] == [6, 13, 20, 27]
    found = series(
        "0 0 13 * mon", ZoneInfo("UTC"), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    )
    assert [at.day for at in found] == [2, 9, 13, 16, 23, 30]


def test_a_leap_day_is_waited_for() -> None:
    assert next_moment(parse("0 0 29 2 *"), BERLIN, datetime(2026, 1, 1, tzinfo=UTC)).year == 2028


@pytest.mark.parametrize(
    "text",
    ["", "0 2 * *", "0 2 * * * *", "61 2 * * *", "0 25 * * *", "x 2 * * *", "0 0 31 2 *", "* * * * *", "0 2 0 * *"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(text)
    assert error.value.field == "schedule"


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../../etc/passwd", "", "\0"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_zone(name)


def test_tenants_are_spread_and_each_stays_where_it_is() -> None:
    policy = Policy(window_minutes=240, jitter_minutes=120)
    tenants = [uuid.uuid4() for _ in range(2_000)]
    shifts = [offset(tenant, policy) for tenant in tenants]
    assert shifts == [offset(str(tenant), policy) for tenant in tenants]
    assert all(timedelta() <= shift < timedelta(minutes=120) for shift in shifts)
    tenths = Counter(shift // timedelta(minutes=12) for shift in shifts)
    assert len(tenths) == 10
    assert max(tenths.values()) < 300
    assert offset(tenants[0], policy.but({"jitter_minutes": 0})) == timedelta()


@settings(max_examples=50, deadline=None)
@given(st.uuids(), st.datetimes(plain("2026-03-20"), plain("2026-11-01"), timezones=st.just(UTC)))
def test_a_slot_lies_in_its_window_and_slots_follow_each_other(tenant: uuid.UUID, now: datetime) -> None:
    policy = Policy(schedule="0 2 * * *", time_zone="Europe/Berlin", window_minutes=90, jitter_minutes=90)
    first = next_slot(policy, tenant, now)
    second = next_slot(policy, tenant, first.due)
    assert now < first.due <= first.until
    assert first.until - timedelta(minutes=90) == first.due - offset(tenant, policy)
    assert timedelta(hours=22) < second.due - first.due < timedelta(hours=26)


@settings(max_examples=100, deadline=None)
@given(
    st.uuids(),
    st.sampled_from(ZONES),
    st.datetimes(plain("2005-01-01"), plain("2035-01-01"), timezones=st.just(UTC)),
    st.timedeltas(timedelta(), timedelta(days=30)),
)
def test_a_clock_that_jumps_leaves_no_slot_out_and_asks_for_none_twice(
    tenant: uuid.UUID, zone: str, now: datetime, back: timedelta
) -> None:
    policy = Policy(schedule="0 2 * * *", time_zone=zone, window_minutes=120, jitter_minutes=60)
    earlier, later = next_slot(policy, tenant, now - back), next_slot(policy, tenant, now)
    assert earlier.due <= later.due
    assert (earlier == later) == (earlier.due > now), "the same slot, unless it has passed in between"
    assert next_slot(policy, tenant, earlier.due).due > earlier.due
