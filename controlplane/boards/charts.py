"""A chart as its page and its script know it: what it is called, and its figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitoring.history import Creations, Line, Series
from monitoring.history.creation import BOUNDS, CRITICAL_SECONDS, WARNING_SECONDS
from tenants.admin.display import duration


@dataclass(frozen=True)
class Plot:
    """A chart's frame: the page is drawn with it before there is any figure."""

    id: str
    title: str
    help: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Mark:
    """A limit, as a line across the chart."""

    value: float
    label: str
    tone: str = "danger"
    # Of a histogram: it stands behind this many bars.
    after: int | None = None

    def json(self) -> dict[str, Any]:
        """As the script reads it."""
        return {"value": self.value, "label": self.label, "tone": self.tone, "after": self.after}


@dataclass(frozen=True)
class Named:
    """A line's name, and how its values are shown otherwise than they are kept (bytes a day out of bytes, say)."""

    line: Line
    name: str


def milliseconds(at: datetime | None) -> int | None:
    """As scripts count time."""
    return None if at is None else round(at.timestamp() * 1000)


def lines_chart(
    series: Series, lines: Sequence[Named], unit: str, marks: Sequence[Mark] = (), note: str = ""
) -> dict[str, Any]:
    """Lines over time."""
    return {
        "kind": "line",
        "unit": unit,
        "begin": milliseconds(series.begin),
        "step": round(series.step.total_seconds() * 1000),
        "count": series.count,
        "lines": [{"name": named.name, "values": named.line.values} for named in lines],
        "marks": [mark.json() for mark in marks],
        "taken_at": milliseconds(series.taken_at),
        "note": note,
    }


def of_metrics(series: Series, names: dict[str, str], unit: str, **more: Any) -> dict[str, Any]:
    """A chart of some of a subject's metrics: `names` says what each is called there."""
    found = ((series.line(metric), name) for metric, name in names.items())
    return lines_chart(series, [Named(line, name) for line, name in found if line], unit, **more)


@dataclass(frozen=True)
class BySubject:
    """A chart with one line a subject, the largest at first; what is beyond `most` is said, not drawn."""

    name_of: Callable[[Any], str]
    unit: str
    most: int = 8
    marks: Sequence[Mark] = field(default_factory=tuple)

    def draw(self, series: Series, metric: str) -> dict[str, Any]:
        """The chart of one metric of `series`."""
        lines = [line for line in series.lines if line.metric.name == metric and _last(line) is not None]
        lines.sort(key=lambda line: (-(_last(line) or 0), self.name_of(line.subject)))
        shown = [Named(line, self.name_of(line.subject)) for line in lines[: self.most]]
        note = f"{len(shown)} of {len(lines)} are shown: the highest." if len(lines) > len(shown) else ""
        return lines_chart(series, shown, self.unit, self.marks, note)


def _last(line: Line) -> float | None:
    return next((value for value in reversed(line.values) if value is not None), None)


SLOW = (
    Mark(WARNING_SECONDS, f"{WARNING_SECONDS:g} s: warning", "warning", BOUNDS.index(WARNING_SECONDS) + 1),
    Mark(CRITICAL_SECONDS, f"{CRITICAL_SECONDS:g} s: critical", "danger", BOUNDS.index(CRITICAL_SECONDS) + 1),
)


def histogram(made: Creations, now: datetime) -> dict[str, Any]:
    """How many tenants took how long."""
    labels = [f"≤ {_seconds(bound)}" for bound in BOUNDS] + [f"> {_seconds(BOUNDS[-1])}"]
    return {
        "kind": "histogram",
        "unit": "count",
        "labels": labels,
        "lines": [
            {"name": "warm", "values": made.warm_buckets},
            {"name": "cold", "values": made.cold_buckets},
        ],
        "marks": [mark.json() for mark in SLOW],
        "taken_at": milliseconds(now),
        "note": _in_words(made),
    }


def _in_words(made: Creations) -> str:
    """The percentiles, and who was too slow."""
    if not made.all.count:
        return ""
    names = ("p50", "p95", "p99", "slowest")
    said = ", ".join(f"{name} {duration(value)}" for name, value in zip(names, made.all.quantiles, strict=True))
    slow = f"{made.all.slow} of {made.all.count} took more than {WARNING_SECONDS:g} s"
    return f"{said}. {slow}, {made.all.too_slow} more than {CRITICAL_SECONDS:g} s."


def course(made: Creations, now: datetime) -> dict[str, Any]:
    """How long they took over time."""
    lines = {"p50": made.p50, "p95": made.p95, "slowest": made.longest}
    return {
        "kind": "line",
        "unit": "seconds",
        "begin": milliseconds(made.begin),
        "step": round(made.step.total_seconds() * 1000),
        "count": len(made.p50),
        "lines": [{"name": name, "values": values} for name, values in lines.items()] if made.all.count else [],
        "marks": [mark.json() for mark in SLOW],
        "taken_at": milliseconds(now),
        "note": "",
    }


def _seconds(bound: float) -> str:
    return f"{bound * 1000:g} ms" if bound < 1 else f"{bound:g} s"
