"""A clock that was set back: nobody waits until the wrong time comes again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from backups.models import BackupStatus
from backups.services import due


def test_a_tenant_planned_by_a_clock_that_ran_ahead_is_planned_anew(tenant: Any) -> None:
    mine, other = tenant(), tenant()
    due.plan_ahead()
    now, wrong = timezone.now(), timezone.now() + timedelta(days=400)
    right = BackupStatus.objects.get(tenant=other)
    ahead = {"next_at": wrong, "window_ends_at": wrong, "last_attempt_at": wrong, "covered_until": wrong}
    BackupStatus.objects.filter(tenant=mine).update(overdue_at=wrong, **ahead)
    due.plan_ahead()
    status = BackupStatus.objects.get(tenant=mine)
    assert status.next_at is not None
    assert status.next_at < now + timedelta(days=8)
    assert status.overdue_at is not None
    assert status.overdue_at < now + timedelta(days=30), "it cannot be overdue only in a year"
    same = BackupStatus.objects.get(tenant=other)
    assert (same.next_at, same.planned_at) == (right.next_at, right.planned_at)
