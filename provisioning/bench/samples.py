"""Times taken, and what is said of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the values do not exceed; of few values p99 is the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """n, median, p99, least and greatest in milliseconds; only n when there are none."""
    if not seconds:
        return {"n": 0}
    found = {
        "median": statistics.median(seconds),
        "p99": percentile(seconds, 0.99),
        "min": min(seconds),
        "max": max(seconds),
    }
    return {"n": len(seconds), **{f"{name}_ms": round(1000 * value, 3) for name, value in found.items()}}


@dataclass
class Row:
    """One line of the table: `seconds` of each go, `parts` measured inside them, and `facts` said beside them."""

    title: str
    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time the block; one that fails is not counted."""
        begun = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - begun)

    def add_cpu(self, used: Mapping[str, float]) -> None:
        """Add CPU seconds to those of the row's goes so far."""
        so_far = self.facts.setdefault("cpu_s", {})
        for name, seconds in used.items():
            so_far[name] = round(so_far.get(name, 0.0) + seconds, 2)

    def as_dict(self) -> dict[str, Any]:
        """What the JSON document holds of it."""
        parts = {name: summary(seconds) for name, seconds in self.parts.items()}
        return {"title": self.title, **summary(self.seconds), "parts": parts, **self.facts, "error": self.error}
