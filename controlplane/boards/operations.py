"""Operations that need somebody: open though nobody beats for them, waiting for long, failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from tenants.models import Operation

# A worker takes what waits within seconds; a backlog of this age is a queue that nobody empties.
LONG_WAIT = timedelta(minutes=5)


@dataclass(frozen=True)
class Stuck:
    """An open operation that does not go on by itself, and why that is thought."""

    operation: Operation
    why: str


def stuck(count: int = 5, now: datetime | None = None) -> list[Stuck]:
    """The oldest ones. One query."""
    now = now or timezone.now()
    deserted = Q(state__in=[Operation.State.RUNNING, Operation.State.CANCELLING], lease_expires_at__lt=now)
    waiting = Q(state=Operation.State.PENDING, created_at__lt=now - LONG_WAIT)
    found = Operation.objects.filter(deserted | waiting).select_related("tenant").order_by("created_at")[:count]
    return [
        Stuck(one, "waits for a worker" if one.state == Operation.State.PENDING else "nobody beats for it")
        for one in found
    ]


def failed(count: int = 5) -> list[Operation]:
    """The latest failures. One query."""
    rows = Operation.objects.filter(state=Operation.State.FAILED).select_related("tenant")
    return list(rows.order_by("-created_at")[:count])
