"""What a policy keeps, over random histories; and that a mistake in its arithmetic cannot delete what matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backups import retention
from backups.policy import Policy
from backups.retention import Entry, guard, keep

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
plain = datetime.fromisoformat
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]


def nightly(nights: int, **more: Any) -> list[Entry]:
    """One each night at 02:00 UTC, the newest last night; numbered from the newest."""
    return [Entry(n, datetime(2026, 11, 23, 2, tzinfo=UTC) - timedelta(days=n), **more) for n in range(nights)]


entries = st.builds(
    Entry,
    id=st.uuids(),
    at=st.datetimes(plain("2020-01-01"), plain("2026-11-30"), timezones=st.just(UTC)),
    outcome=st.sampled_from(["good", "good", "good", "good", "damaged", "failed", "running"]),
    verified=st.sampled_from([True, True, True, False]),
    proven=st.booleans(),
    pinned=st.sampled_from([False] * 9 + [True]),
    keep_until=st.none() | st.datetimes(plain("2026-01-01"), plain("2027-12-01"), timezones=st.just(UTC)),
    in_use=st.sampled_from([False] * 9 + [True]),
)
histories = st.lists(entries, max_size=40, unique_by=lambda entry: entry.id)
dense = st.lists(st.integers(0, 24 * 90), min_size=8, max_size=50, unique=True).flatmap(
    lambda hours: st.builds(
        lambda flags: [
            Entry(n, NOW - timedelta(hours=h), outcome="good" if f != 1 else "damaged", verified=f != 2, proven=f == 3)
            for n, (h, f) in enumerate(zip(hours, flags, strict=True))
        ],
        st.lists(st.integers(0, 8), min_size=len(hours), max_size=len(hours)),
    )
)
policies = st.builds(
    Policy,
    time_zone=st.sampled_from(ZONES),
    keep_last=st.integers(1, 10),
    keep_daily=st.integers(0, 20),
    keep_weekly=st.integers(0, 10),
    keep_monthly=st.integers(0, 24),
    keep_yearly=st.integers(0, 5),
    min_age_days=st.integers(0, 30),
)


def test_each_kind_of_period_keeps_its_last_ones() -> None:
    policy = Policy(keep_last=2, keep_daily=3, keep_weekly=2, keep_monthly=2, keep_yearly=1, min_age_days=0)
    kept = keep(nightly(400), policy, NOW)
    # Monday 23 November; Sunday the 22nd ends the week before, 31 October the month before.
    assert sorted(kept) == [0, 1, 2, 23]
    assert kept[0] == [
        "the newest that is verified", "one of the last 2 (1)", "daily 2026-11-23", "weekly 2026-48",
        "monthly 2026-11", "yearly 2026",
    ]  # fmt: skip
    assert kept[1] == ["one of the last 2 (2)", "daily 2026-11-22", "weekly 2026-47"]
    assert kept[23] == ["monthly 2026-10"]


def test_days_are_those_of_the_policy() -> None:
    """Half past eleven in the evening in New York is the next day in UTC."""
    zone = ZoneInfo("America/New_York")
    times = [datetime(2026, 11, 20, 23, 30, tzinfo=zone), datetime(2026, 11, 20, 9, 0, tzinfo=zone)]
    history = [Entry(n, at.astimezone(UTC)) for n, at in enumerate(times)]
    policy = Policy(keep_last=1, keep_daily=5, min_age_days=0)
    assert sorted(keep(history, policy.but({"time_zone": "America/New_York"}), NOW)) == [0]
    assert sorted(keep(history, policy, NOW)) == [0, 1]


def test_nothing_goes_after_a_failed_night() -> None:
    failed = Entry("failed", NOW - timedelta(hours=1), outcome="failed", verified=False)
    policy = Policy(keep_last=1, keep_daily=0, min_age_days=0)
    assert sorted(keep(nightly(9), policy, NOW)) == [0]
    kept = keep([*nightly(9), failed], policy, NOW)
    assert sorted(kept) == list(range(9))
    assert kept[8] == ["the last backup failed"]


def test_what_is_unverified_does_not_count_and_does_not_go() -> None:
    history = [Entry("new", NOW - timedelta(days=3), verified=False), *nightly(9)[5:]]
    kept = keep(history, Policy(keep_last=1, keep_daily=0, min_age_days=0), NOW)
    assert kept == {
        "new": ["not verified yet"],
        5: ["the newest that is verified", "one of the last 1 (1)"],
    }


@settings(max_examples=150, deadline=None)
@given(dense | histories, policies)
def test_what_matters_is_never_given_up(history: list[Entry], policy: Policy) -> None:
    kept = keep(history, policy, NOW)
    there = {entry.id: entry for entry in history if entry.outcome in ("good", "damaged")}
    doomed = set(there) - set(kept)
    good = sorted((e for e in history if e.outcome == "good" and e.verified), key=lambda e: e.at)
    if good:
        assert good[-1].at in [there[i].at for i in kept if there[i] in good]
        proven = [e.at for e in good if e.proven]
        assert not proven or max(proven) in [there[i].at for i in kept if there[i].proven and there[i] in good]
        assert len([e for e in good if e.id in kept]) >= min(policy.keep_last, len(good))
    else:
        assert not doomed
    for entry in (there[i] for i in doomed):
        assert not entry.pinned
        assert not entry.in_use
        assert entry.keep_until is None or entry.keep_until <= NOW
        assert NOW - entry.at >= timedelta(days=policy.min_age_days)
    assert all(reasons for reasons in kept.values())
    assert guard(history, doomed, policy, NOW) == []


@settings(max_examples=80, deadline=None)
@given(histories, policies, st.integers(1, 400))
def test_keeping_is_stable(history: list[Entry], policy: Policy, days: int) -> None:
    """What a later night would still keep, an earlier one has not removed."""
    later = NOW + timedelta(days=days)
    settled = [e for e in history if e.at < NOW and e.outcome == "good" and e.verified]
    kept_now = set(keep(settled, policy, NOW))
    kept_later_of_all = set(keep(settled, policy, later))
    kept_later_of_rest = set(keep([e for e in settled if e.id in kept_now], policy, later))
    assert kept_later_of_all <= kept_now
    assert kept_later_of_rest == kept_later_of_all


def _nothing(*_: Any) -> dict[Any, list[str]]:
    return {}


def _oldest(history: Any, policy: Policy, now: datetime) -> dict[Any, list[str]]:
    """Sorted the wrong way round."""
    turned = sorted(history, key=lambda e: e.at)[: policy.keep_last]
    return {entry.id: ["one of the last"] for entry in turned}


def _counting_anything(history: Any, policy: Policy, now: datetime) -> dict[Any, list[str]]:
    """Counts damaged and unverified ones as if they could be restored."""
    changed = [Entry(e.id, e.at, proven=e.proven) for e in history if e.outcome in ("good", "damaged")]
    return keep(changed, policy, now)


def _one_too_few(history: Any, policy: Policy, now: datetime) -> dict[Any, list[str]]:
    return keep(history, policy.but({"keep_daily": max(policy.keep_daily - 1, 0)}), now)


MISTAKES = [_nothing, _oldest, _counting_anything, _one_too_few]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_guard_stops_a_mistake_before_anything_is_lost(mistake: Any) -> None:
    """Over random histories: whenever a mistaken policy would take away what is promised, the guard says so."""
    stopped, promise = 0, Policy(keep_last=2, keep_daily=7, min_age_days=0)

    @settings(max_examples=60, deadline=None, database=None)
    @given(dense | histories, policies)
    @example(nightly(30), promise)
    @example([replace(entry, outcome="good" if entry.id % 2 else "damaged") for entry in nightly(30)], promise)
    def over_histories(history: list[Entry], policy: Policy) -> None:
        nonlocal stopped
        doomed = {e.id for e in history if e.outcome in ("good", "damaged")} - set(mistake(history, policy, NOW))
        promised = set(keep(history, policy, NOW))
        good = [e for e in history if e.counts]
        left = [e for e in good if e.id not in doomed]
        complaints = guard(history, doomed, policy, NOW)
        if good and (not left or max(e.at for e in left) < max(e.at for e in good)):
            assert complaints
        proven = [e.at for e in good if e.proven]
        if proven and max(proven) not in [e.at for e in left if e.proven]:
            assert complaints
        if any(e.pinned or e.in_use for e in history if e.id in doomed & promised):
            assert complaints
        stopped += bool(complaints)

    over_histories()
    assert stopped, "the mistake made no difference: the test proves nothing"


def test_the_guard_shares_no_code_with_what_it_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to the periods of `keep`, the guard still counts them."""
    monkeypatch.setattr(retention, "PERIODS", {"daily": lambda at: "always the same"})
    policy = Policy(keep_last=1, keep_daily=7, min_age_days=0)
    history = nightly(30)
    doomed = {e.id for e in history} - set(keep(history, policy, NOW))
    assert len(doomed) == 29
    assert "daily 2026-11-22 would be lost" in guard(history, doomed, policy, NOW)


@settings(max_examples=150, deadline=None)
@given(dense | histories, policies, st.timedeltas(timedelta(), timedelta(days=4_000)))
def test_a_clock_that_is_set_back_keeps_more_and_never_less(
    history: list[Entry], policy: Policy, back: timedelta
) -> None:
    kept, kept_then = keep(history, policy, NOW), keep(history, policy, NOW - back)
    assert set(kept) <= set(kept_then)
    for entry in history:
        if entry.at > NOW - back and entry.outcome in ("good", "damaged"):
            assert entry.id in kept_then, "it is from the future: who knows how old it is"
            assert guard(history, [entry.id], policy, NOW - back)


@settings(max_examples=150, deadline=None)
@given(dense | histories, policies, st.timedeltas(timedelta(), timedelta(days=4_000)))
def test_a_clock_that_runs_ahead_loses_neither_the_newest_nor_the_proven(
    history: list[Entry], policy: Policy, ahead: timedelta
) -> None:
    kept = keep(history, policy, NOW + ahead)
    good = sorted((e for e in history if e.counts), key=lambda e: e.at)
    for chosen in (good[-1:], [e for e in good if e.proven][-1:]):
        assert {e.at for e in chosen} <= {e.at for e in history if e.id in kept}
    assert len([e for e in good if e.id in kept]) >= min(policy.keep_last, len(good))
