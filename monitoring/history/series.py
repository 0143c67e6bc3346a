"""Lines for charts: metrics over a span, in at most 300 points, by one query. What was not seen is a gap.

Up to a day comes from the samples as taken, up to 90 days from those over five minutes, what is longer from the daily
ones. Points are bins of equal width, aligned to UTC, at least twice as wide as the time between two looks, so that a
look that came a second late makes no gap. Within a bin the columns are rolled up first, as for the coarser tables
(`monitoring.rollups`), and the metric is worked out from that: the mean of a statement is all their time by all their
number, not a mean of means.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Aggregate, DateTimeField, F, FloatField, Func, Max, Min, Sum, Value
from django.db.models.functions import Cast
from django.utils import timezone

from monitoring import partitions
from monitoring.catalogue import Metric
from monitoring.models.samples import Sample, TenantSize
from monitoring.rollups import HOW, How

Subject = uuid.UUID | int

POINTS = 300
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS = (
    _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE,
    _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 28 * _DAY,
)  # fmt: skip
_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday


@dataclass(frozen=True)
class Span:
    """How far back a chart goes."""

    name: str
    label: str
    length: timedelta


SPANS: dict[str, Span] = {
    span.name: span
    for span in (
        Span("1h", "1 h", _HOUR),
        Span("24h", "24 h", _DAY),
        Span("7d", "7 d", 7 * _DAY),
        Span("30d", "30 d", 30 * _DAY),
        Span("1y", "1 y", 365 * _DAY),
    )
}
DEFAULT_SPAN = "24h"


def span_of(name: str | None) -> Span:
    """The span of this name; 24 hours for a name that is none."""
    return SPANS.get(name or DEFAULT_SPAN, SPANS[DEFAULT_SPAN])


@dataclass(frozen=True)
class Line:
    """One metric of one subject (None: of the fleet), a value for each bin; None where nothing was seen."""

    metric: Metric
    subject: Subject | None
    values: list[float | None]


@dataclass(frozen=True)
class Series:
    """Lines over the same bins. `taken_at` is when the newest of their samples was taken; None when there is none."""

    begin: datetime
    step: timedelta
    count: int
    lines: list[Line]
    taken_at: datetime | None

    @property
    def times(self) -> list[datetime]:
        """When each bin begins."""
        return [self.begin + self.step * position for position in range(self.count)]

    def line(self, name: str, subject: Subject | None = None) -> Line | None:
        """The line of a metric, if there is one."""
        found = (line for line in self.lines if line.metric.name == name and subject in (None, line.subject))
        return next(found, None)


def bins(
    span: Span, now: datetime, at_least: timedelta = _MINUTE, points: int = POINTS
) -> tuple[datetime, timedelta, int]:
    """Where the first bin begins, how wide each is, and how many there are; the last one holds `now`."""
    step = next((step for step in _STEPS if step >= at_least and span.length / step < points), _STEPS[-1])
    last = _ORIGIN + step * ((now - _ORIGIN) // step)
    count = -(-span.length // step)
    return last - step * (count - 1), step, count


def series(
    metrics: Sequence[Metric],
    span: Span,
    *,
    subjects: Sequence[Subject] | None = None,
    points: int = POINTS,
    now: datetime | None = None,
) -> Series:
    """Metrics of one kind of sample over `span`, of the subjects (none given: of all, or of the fleet), by one query.

    Raises ValueError when they are of several kinds of samples, or of none (facts have no history).
    """
    kinds = {metric.sample for metric in metrics}
    raw = next(iter(kinds), None)
    if len(kinds) != 1 or raw is None:
        raise ValueError("A chart shows metrics of one kind of sample.")
    model = _table(raw, span)
    begin, step, count = bins(span, now or timezone.now(), _narrowest(raw, model), points)
    key = _subject_column(raw, metrics[0])
    found = _rows(raw, model, metrics, key, subjects, begin, step, count)
    taken_at, lines = None, dict[Subject | None, list[Line]]()
    for row in found:
        subject = row[key] if key else None
        if subject not in lines:
            lines[subject] = [Line(metric, subject, [None] * count) for metric in metrics]
        position = (row["_bin"] - begin) // step
        for line, metric in zip(lines[subject], metrics, strict=True):
            line.values[position] = row[f"_{metric.name}"]
        taken_at = max(filter(None, (taken_at, row["_newest"])))
    return Series(begin, step, count, [line for of_one in lines.values() for line in of_one], taken_at)


def _table(raw: type[Sample], span: Span) -> type[Sample]:
    if span.length <= _DAY:
        return raw
    return partitions.FIVE_MINUTES[raw] if span.length <= 90 * _DAY else partitions.DAILY[raw]


def _narrowest(raw: type[Sample], model: type[Sample]) -> timedelta:
    if model is partitions.DAILY[raw]:
        return _DAY
    often = settings.MONITORING_SIZES_SECONDS if raw is TenantSize else settings.MONITORING_INTERVAL_SECONDS
    return max(2 * timedelta(seconds=often), _MINUTE if model is raw else 10 * _MINUTE)


def _subject_column(raw: type[Sample], metric: Metric) -> str:
    names = {field.name for field in raw._meta.fields}
    return next((name for name in ("tenant_id", "cluster_id") if name in names), "")


def _rows(
    raw: type[Sample], model: type[Sample], metrics: Sequence[Metric], key: str, subjects: Sequence[Subject] | None,
    begin: datetime, step: timedelta, count: int,
) -> Any:  # fmt: skip
    rows = model._default_manager.filter(taken_at__gte=begin, taken_at__lt=begin + step * count)
    if subjects is not None:
        rows = rows.filter(**{f"{key}__in": subjects})
    bin_of = Func(Value(step), F("taken_at"), Value(_ORIGIN), function="date_bin", output_field=DateTimeField())
    rolled = {F(column): _AGGREGATES[how](column) for column, how in HOW[raw].items()}
    values = {f"_{metric.name}": Cast(_over(metric, rolled), FloatField()) for metric in metrics}
    grouped = rows.annotate(_bin=bin_of).values("_bin", *([key] if key else []))
    return grouped.annotate(_newest=Max("taken_at"), **values).order_by(*([key] if key else []), "_bin")


class _Last(Aggregate):
    """The newest value of a bin that is not null."""

    function = "ARRAY_AGG"
    template = "(ARRAY_AGG(%(expressions)s ORDER BY taken_at DESC) FILTER (WHERE %(expressions)s IS NOT NULL))[1]"


_AGGREGATES: dict[How, type[Aggregate]] = {How.MAX: Max, How.MIN: Min, How.SUM: Sum, How.LAST: _Last}


def _over(metric: Metric, rolled: dict[F, Any]) -> Any:
    """The metric's expression, over the bin's aggregates instead of one row's columns."""
    return metric.value.replace_expressions(rolled)  # type: ignore[union-attr]
