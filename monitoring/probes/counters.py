"""Differences of counters that may have begun anew meanwhile."""

from __future__ import annotations

from collections.abc import Sequence


def grown(now: float, before: float | None) -> float | None:
    """What was added since. A counter that is lower than before was reset: all of it came since then. None without a
    look before."""
    if before is None:
        return None
    return now - before if now >= before else now


def all_grown(now: Sequence[float], before: Sequence[float] | None) -> list[float]:
    """The same of counters that are reset together, e.g. those of a statement, of which each begins at zero: when one
    is lower than before, all were reset. Without a look before, all of them came since."""
    if before is None or any(new < old for new, old in zip(now, before, strict=True)):
        return list(now)
    return [new - old for new, old in zip(now, before, strict=True)]
