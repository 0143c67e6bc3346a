"""When a tenant's next backup begins: cron in a time zone, each tenant at its own distance.

Every time of day that a schedule names happens once on a day, also where clocks change: one that is skipped in spring
is taken at the moment they jump to (02:30 becomes 03:30), one that comes twice in autumn is taken the first time, and
twice only by a schedule that says every hour.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.schedules import ParseException, crontab

from backups.policy import Policy
from tenants.exceptions import InvalidInput

# 29 February on a given day of the week comes within 40 years; further ahead nobody looks.
DAYS_AHEAD = 366 * 41
MAX_TIMES_A_DAY = 24


@dataclass(frozen=True)
class Cron:
    """A parsed schedule: sets of numbers, and whether days of month and week were restricted (then either will do)."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool
    every_hour: bool

    def on(self, day: date) -> bool:
        """Whether it names that day."""
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((in_month or in_week) if self.either_day else (in_month and in_week))


@lru_cache(maxsize=512)
def parse(text: str) -> Cron:
    """A schedule of five fields as cron has them. Raises InvalidInput, also for one that no day ever fits."""
    fields = text.split()
    if len(fields) != 5:
        raise InvalidInput("A schedule has five fields: minute hour day month weekday.", field="schedule")
    minute, hour, day, month, weekday = fields
    try:
        given: Any = crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    except (ParseException, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"This is no schedule: {error}", field="schedule", hint="For example: 30 2 * * *") from error
    found = Cron(
        tuple(sorted(given.minute)), tuple(sorted(given.hour)), frozenset(given.day_of_month),
        frozenset(given.month_of_year), frozenset(given.day_of_week),
        either_day=day != "*" and weekday != "*", every_hour=len(given.hour) == 24,
    )  # fmt: skip
    if len(found.minutes) * len(found.hours) > MAX_TIMES_A_DAY:
        raise InvalidInput("At most a backup an hour can be scheduled.", field="schedule")
    if not _any_day(found):
        raise InvalidInput("No day ever fits this schedule.", field="schedule")
    return found


def _any_day(cron: Cron) -> bool:
    start = date(2000, 1, 1)
    return any(cron.on(start + timedelta(days=number)) for number in range(366 * 29))


def check_zone(name: str) -> str:
    """`name`, if it is a time zone. Raises InvalidInput."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"There is no time zone '{name[:64]}'.", field="time_zone", hint="Europe/Berlin") from error
    return name


def moments(cron: Cron, zone: ZoneInfo, day: date) -> list[datetime]:
    """The moments that a schedule names on one local day, in UTC and in order."""
    found: set[datetime] = set()
    for hour in cron.hours:
        for minute in cron.minutes:
            local = datetime.combine(day, time(hour, minute), zone)
            # A time that does not exist gets the offset from before the jump, which makes it the same distance after.
            found.add(local.astimezone(UTC))
            if cron.every_hour:
                again = local.replace(fold=1).astimezone(UTC)
                if again.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                    found.add(again)
    return sorted(found)


def next_moment(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """The first moment of a schedule that is later than `after`, in UTC."""
    # A time that clocks jump over can end up on the day after its own: begin a day earlier.
    first = after.astimezone(zone).date() - timedelta(days=1)
    for number in range(DAYS_AHEAD):
        day = first + timedelta(days=number)
        if cron.on(day):
            for moment in moments(cron, zone, day):
                if moment > after:
                    return moment
    raise InvalidInput("No day ever fits this schedule.", field="schedule")


def offset(tenant_id: Any, policy: Policy) -> timedelta:
    """How far into the window a tenant begins: always the same for it, and evenly spread over all tenants."""
    digest = hashlib.sha256(str(tenant_id).encode()).digest()
    spread = policy.jitter_minutes * 60
    return timedelta(seconds=int.from_bytes(digest[:8], "big") * spread // 2**64)


@dataclass(frozen=True)
class Slot:
    """When a tenant's backup is due, and when the window closes in which it may begin. In UTC."""

    due: datetime
    until: datetime


def next_slot(policy: Policy, tenant_id: Any, after: datetime) -> Slot:
    """The first slot of a tenant that is due later than `after`. Raises InvalidInput for a schedule that is none."""
    shift = offset(tenant_id, policy)
    moment = next_moment(parse(policy.schedule), policy.zone, after - shift)
    return Slot(moment + shift, moment + timedelta(minutes=policy.window_minutes))
