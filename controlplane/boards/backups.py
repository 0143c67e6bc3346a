"""How the fleet's backups fare: from the backups' own history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection
from django.urls import reverse

from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True)
class Rate:
    """How many of those that ended within a span succeeded."""

    label: str
    succeeded: int
    failed: int

    @property
    def total(self) -> int:
        """All that ended."""
        return self.succeeded + self.failed

    @property
    def ratio(self) -> float | None:
        """None when none ended: no news is not good news."""
        return self.succeeded / self.total if self.total else None

    @property
    def tone(self) -> str:
        """Any failure is seen."""
        return "danger" if self.failed else ""


@dataclass(frozen=True)
class BackupFigures:
    """`oldest_at` is up to when the tenant that is worst off is covered by a good backup."""

    day: Rate
    month: Rate
    never: int
    overdue: int
    oldest_at: datetime | None
    oldest_slug: str
    oldest_url: str

    @property
    def rates(self) -> list[Rate]:
        """Both, the shorter one first."""
        return [self.day, self.month]


def backup_figures() -> BackupFigures:
    """Two queries."""
    rates, status = _row("backup_rates"), _row("backup_status")
    oldest = status["oldest_tenant"]
    return BackupFigures(
        Rate("24 h", rates["day_succeeded"], rates["day_failed"]),
        Rate("30 d", rates["month_succeeded"], rates["month_failed"]),
        status["never"],
        status["overdue"],
        status["oldest_at"],
        status["oldest_slug"] or "",
        reverse("admin:tenants_tenant_change", args=[oldest]) if oldest else "",
    )


def _row(name: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(QUERIES[name])
        return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
