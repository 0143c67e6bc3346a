"""How a tenant is: what a check of it says, and who can say it.

Who knows something registers it when it is loaded; monitoring, which may import none of them, asks here. A check is
known (from the registry or from samples, in milliseconds), or looked at (on the tenant's cluster, within seconds), or
both: then the look is what is asked for live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from psycopg import Connection

from tenants.models import Tenant


class Status(StrEnum):
    """`unknown`: nobody has looked lately, or it cannot be seen."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


WORST_FIRST = (Status.CRITICAL, Status.WARNING, Status.UNKNOWN, Status.OK)


def worst(statuses: list[Status]) -> Status:
    """What stands for all of them."""
    return next((status for status in WORST_FIRST if status in statuses), Status.UNKNOWN)


@dataclass(frozen=True)
class Check:
    """One thing about a tenant: its value against its limit, when that was so, why it is judged so, what to do."""

    name: str
    status: Status
    reason: str = ""
    next_step: str = ""
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    taken_at: datetime | None = None

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ").capitalize()

    @property
    def tone(self) -> str:
        """Its colour in the admin."""
        return {Status.OK: "success", Status.WARNING: "warning", Status.CRITICAL: "danger"}.get(self.status, "info")

    def but(self, **changes: Any) -> Check:
        """The same with some of it changed."""
        return replace(self, **changes)


T = TypeVar("T")
# None: it does not concern this tenant, as it is now.
Known = Callable[[Tenant], Check | None]
# On a session of the cluster's monitor in the tenant's database, with a short timeout.
Look = Callable[[Tenant, Connection[Any]], Check | None]
# By a connection of its own.
Try = Callable[[Tenant], Check | None]


@dataclass(frozen=True)
class Checker:
    """Who can say something. What only looks and tries find is looked for in turn, every so often, and kept."""

    name: str
    known: Known | None = None
    look: Look | None = None
    attempt: Try | None = None
    every: timedelta = timedelta(hours=1)

    @property
    def in_turn(self) -> bool:
        """Whether nobody knows it without looking."""
        return self.known is None


# In this order they are shown; others follow.
ORDER = (
    "state", "reachable", "schema", "row_level_security", "isolation", "connections", "size", "backup",
    "proven_restore", "slow_queries",
)  # fmt: skip
_checkers: dict[str, Checker] = {}


def register(checker: Checker) -> None:
    """Make known who can say something. Apps do this when they are loaded."""
    _checkers[checker.name] = checker


def checkers() -> list[Checker]:
    """All of them, in order."""
    names = [name for name in ORDER if name in _checkers]
    return [_checkers[name] for name in [*names, *(name for name in _checkers if name not in ORDER)]]


_shared: ContextVar[dict[str, Any] | None] = ContextVar("health", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Within, what several checks need is read once."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def shared(key: str, read: Callable[[], T]) -> T:
    """What `read` returns, or has returned for this key before."""
    known = _shared.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found


# Above these shares of a limit.
WARNING_SHARE, CRITICAL_SHARE = 0.8, 0.95


def by_share(value: float, limit: float) -> Status:
    """How a value that must not reach a limit is judged."""
    if limit <= 0:
        return Status.OK
    share = value / limit
    return Status.CRITICAL if share >= CRITICAL_SHARE else Status.WARNING if share >= WARNING_SHARE else Status.OK
