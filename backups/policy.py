"""A policy as plain values: what schedule and retention are worked out from, without a database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Policy:
    """What one tenant is promised. Fields as in `BackupPolicy`; the defaults are its defaults."""

    enabled: bool = True
    schedule: str = "0 2 * * *"
    time_zone: str = "UTC"
    window_minutes: int = 240
    jitter_minutes: int = 120
    catch_up: bool = True
    skip_unchanged: bool = True
    unchanged_max_days: int = 7
    keep_last: int = 3
    keep_daily: int = 14
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    min_age_days: int = 1
    purged_keep_days: int = 30
    drill_every_days: int = 30
    alert_after_hours: int = 36

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone. Raises ZoneInfoNotFoundError."""
        return ZoneInfo(self.time_zone)

    def but(self, values: dict[str, Any]) -> Policy:
        """The same with some values changed."""
        return replace(self, **values)
