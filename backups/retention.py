"""Which backups a policy keeps, and an independent guard before any is removed.

`keep` is pure: a history, a policy and the time in; each backup that stays, with every reason, out. `guard` is asked
before files are deleted. It shares no arithmetic with `keep` and only counts what would be left: a mistake in one is
stopped by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from backups.policy import Policy

Outcome = Literal["good", "damaged", "failed", "running"]


@dataclass(frozen=True)
class Entry:
    """One backup as retention sees it. `at` is the moment it shows (for failed ones: when it failed), with time zone.

    `in_use` means that somebody reads it now. Only whole and verified ones count.
    """

    id: Any
    at: datetime
    outcome: Outcome = "good"
    verified: bool = True
    proven: bool = False
    pinned: bool = False
    keep_until: datetime | None = None
    in_use: bool = False

    @property
    def counts(self) -> bool:
        """Whether something could be restored from it, as far as was ever checked."""
        return self.outcome == "good" and self.verified


# A period's key: the same for all moments within it.
PERIODS: dict[str, Callable[[datetime], Any]] = {
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


def keep(history: Iterable[Entry], policy: Policy, now: datetime) -> dict[Any, list[str]]:
    """What stays, by id, with the reasons; what is not in the answer may go. Failed ones are not in it: they hold
    nothing."""
    entries = sorted(history, key=lambda entry: entry.at, reverse=True)
    there = [entry for entry in entries if entry.outcome in ("good", "damaged")]
    reasons: dict[Any, list[str]] = {entry.id: [] for entry in there}
    counting = [entry for entry in there if entry.counts]
    for entry in there:
        reasons[entry.id] += _own_reasons(entry, policy, now, alone=not counting)
    if counting:
        reasons[counting[0].id].append("the newest that is verified")
    if proven := [entry for entry in counting if entry.proven]:
        reasons[proven[0].id].append("the last that was proven by a restore")
    for number, entry in enumerate(counting[: policy.keep_last], start=1):
        reasons[entry.id].append(f"one of the last {policy.keep_last} ({number})")
    for name, key in PERIODS.items():
        for entry, period in _last_of_periods(counting, key, getattr(policy, f"keep_{name}"), policy):
            reasons[entry.id].append(f"{name} {_said(period)}")
    if why := _held(entries):
        for entry in there:
            reasons[entry.id].append(why)
    return {id_: found for id_, found in reasons.items() if found}


def _own_reasons(entry: Entry, policy: Policy, now: datetime, *, alone: bool) -> list[str]:
    found = []
    if entry.pinned:
        found.append("pinned")
    if entry.keep_until is not None and entry.keep_until > now:
        found.append(f"kept until {entry.keep_until:%Y-%m-%d %H:%M} UTC by its own retention")
    if entry.in_use:
        found.append("in use")
    if entry.at > now - timedelta(days=policy.min_age_days):
        found.append(f"younger than {policy.min_age_days} d" if entry.at <= now else "from the future")
    if entry.outcome == "good" and not entry.verified:
        found.append("not verified yet")
    if entry.outcome == "damaged" and alone:
        found.append("there is none that is whole")
    return found


def _last_of_periods(
    entries: Sequence[Entry], key: Callable[[datetime], Any], count: int, policy: Policy
) -> list[tuple[Entry, Any]]:
    """The newest of each period, for the newest `count` periods that have any."""
    zone = policy.zone
    found: dict[Any, Entry] = {}
    for entry in entries:
        found.setdefault(key(entry.at.astimezone(zone)), entry)
    return [(entry, period) for period, entry in list(found.items())[:count]]


def _said(period: Any) -> str:
    return "-".join(f"{part:02}" for part in period) if isinstance(period, tuple) else str(period)


def _held(entries: Sequence[Entry]) -> str:
    """Why nothing at all may go now; empty when something may."""
    ended = [entry for entry in entries if entry.outcome != "running"]
    if ended and ended[0].outcome == "failed":
        return "the last backup failed"
    return ""


def after_purge(history: Iterable[Entry], purged_at: datetime, policy: Policy, now: datetime) -> dict[Any, list[str]]:
    """What stays of a tenant that was purged: everything for the policy's days, then only what somebody holds."""
    there = [entry for entry in history if entry.outcome in ("good", "damaged")]
    until = purged_at + timedelta(days=policy.purged_keep_days)
    if now < until:
        return {entry.id: [f"the tenant was purged; kept until {until:%Y-%m-%d %H:%M} UTC"] for entry in there}
    bare = policy.but({"min_age_days": 0})
    return {entry.id: why for entry in there if (why := _held_by_somebody(entry, bare, now))}


def _held_by_somebody(entry: Entry, policy: Policy, now: datetime) -> list[str]:
    return [why for why in _own_reasons(entry, policy, now, alone=False) if why != "not verified yet"]


def guard(history: Iterable[Entry], doomed: Collection[Any], policy: Policy, now: datetime) -> list[str]:
    """What would be wrong about removing `doomed`; empty when nothing. Whoever deletes asks this first."""
    everything = list(history)
    going = [entry for entry in everything if entry.id in set(doomed)]
    staying = [entry for entry in everything if entry.id not in set(doomed)]
    wrong = [f"{entry.id} is {why}" for entry in going if (why := _untouchable(entry, policy, now))]
    good, left = [e for e in everything if e.counts], [e for e in staying if e.counts]
    if good and not left:
        wrong.append("no whole backup would be left")
    elif good and max(e.at for e in left) < max(e.at for e in good):
        wrong.append("the newest whole backup would go")
    proven = [e.at for e in good if e.proven]
    if proven and max(proven) not in [e.at for e in left if e.proven]:
        wrong.append("the last proven backup would go")
    if not good and going:
        wrong.append("nothing is known to be whole")
    finished = [e for e in everything if e.outcome != "running"]
    if going and finished and max(finished, key=lambda e: e.at).outcome == "failed":
        wrong.append("the last backup failed")
    return wrong + _too_few(good, left, policy)


def _untouchable(entry: Entry, policy: Policy, now: datetime) -> str:
    if entry.pinned or entry.in_use or (entry.keep_until is not None and now < entry.keep_until):
        return "held"
    if now - entry.at < timedelta(days=policy.min_age_days):
        return "too young"
    return "not verified" if entry.outcome == "good" and not entry.verified else ""


def _too_few(good: Sequence[Entry], left: Sequence[Entry], policy: Policy) -> list[str]:
    """Counts days, weeks, months and years that would have a backup against what the policy promises."""
    wrong = []
    if len(left) < min(policy.keep_last, len(good)):
        wrong.append(f"{len(left)} would be left of {policy.keep_last} that are promised")
    formats = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}
    for name, form in formats.items():
        had = {e.at.astimezone(policy.zone).strftime(form) for e in good}
        has = {e.at.astimezone(policy.zone).strftime(form) for e in left}
        promised = set(sorted(had)[-getattr(policy, f"keep_{name}") :]) if getattr(policy, f"keep_{name}") else set()
        if missing := promised - has:
            wrong.append(f"{name} {max(missing)} would be lost")
    return wrong
