"""Samples become rows over five minutes and over a day, so that years can be kept and charts stay quick.

Each span is made from all of its rows at once and written over whatever was there: to do it again changes nothing, and
rows that came late are in it once it is done again. Only spans that are over are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection
from django.utils import timezone
from psycopg import sql

from monitoring import partitions
from monitoring.models import ClusterSample, FleetSample, TenantActivity, TenantSize
from monitoring.models.samples import Sample
from monitoring.partitions import DAILY, FIVE_MINUTES, QUERIES, RAW, kept


class How(StrEnum):
    """What becomes of a column's values within a span; nulls are left out."""

    MAX = "max"
    MIN = "min"
    SUM = "sum"
    LAST = "last"


_MAX, _MIN, _SUM, _LAST = How.MAX, How.MIN, How.SUM, How.LAST

# Peaks of what comes and goes, sums of what is counted (rates are quotients of sums), the end of what grows.
HOW: Mapping[type[Sample], Mapping[str, How]] = {
    TenantActivity: {
        "connections": _MAX, "connection_limit": _LAST, "active": _MAX, "idle_in_transaction": _MAX, "waiting": _MAX,
        "blocking": _MAX, "oldest_transaction_seconds": _MAX, "span_seconds": _SUM, "calls": _SUM,
        "total_seconds": _SUM, "max_seconds": _MAX, "rows": _SUM, "temp_bytes": _SUM, "blocks_hit": _SUM,
        "blocks_read": _SUM,
    },
    TenantSize: {
        "table_bytes": _LAST, "index_bytes": _LAST, "toast_bytes": _LAST, "total_bytes": _LAST, "quota_bytes": _LAST,
        "tables": _LAST, "live_rows": _LAST, "dead_rows": _LAST, "xid_age": _MAX, "vacuum_age_seconds": _MAX,
        "analyze_age_seconds": _MAX,
    },
    ClusterSample: {
        "connections": _MAX, "connection_slots": _LAST, "active": _MAX, "idle_in_transaction": _MAX, "waiting": _MAX,
        "oldest_transaction_seconds": _MAX, "span_seconds": _SUM, "transactions": _SUM, "rollbacks": _SUM,
        "deadlocks": _SUM, "temp_bytes": _SUM, "wal_bytes": _SUM, "blocks_hit": _SUM, "blocks_read": _SUM,
        "checkpoints_timed": _SUM, "checkpoints_requested": _SUM, "replicas": _MIN, "replication_lag_seconds": _MAX,
        "replication_lag_bytes": _MAX, "xid_age": _MAX, "size_bytes": _LAST, "disk_total_bytes": _LAST,
        "disk_free_bytes": _MIN, "pooler_active": _MAX, "pooler_waiting": _MAX, "pooler_maxwait_seconds": _MAX,
    },
    FleetSample: {
        "tenants": _LAST, "tenants_active": _LAST, "tenants_suspended": _LAST, "tenants_failed": _LAST,
        "operations_pending": _MAX, "operations_running": _MAX, "operations_stuck": _MAX, "operations_failed": _MAX,
        "oldest_pending_seconds": _MAX, "queue_depth": _MAX, "worker_seen_seconds": _MAX, "beat_seen_seconds": _MAX,
        "slots_ready": _MIN, "audit_unsealed": _MAX,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """How long a span is, from what it is made, and how long it is waited for rows that come late."""

    length: timedelta
    grace: timedelta
    # Spans that are made again each time, for what came late all the same.
    again: int
    # So much of the past, at most, is made in one go after an outage.
    most: timedelta


FIVE = Span(timedelta(minutes=5), timedelta(seconds=60), again=3, most=timedelta(hours=12))
DAY = Span(timedelta(days=1), timedelta(minutes=30), again=0, most=timedelta(days=3))


def roll_up(now: datetime | None = None) -> int:
    """Make the five minutes that are over and not yet made, of every kind of sample. Returns the rows written."""
    moment = now or timezone.now()
    return sum(_catch_up(raw, raw, FIVE_MINUTES[raw], FIVE, moment) for raw in RAW)


def roll_up_days(now: datetime | None = None) -> int:
    """The same of days, from five minutes."""
    moment = now or timezone.now()
    return sum(_catch_up(raw, FIVE_MINUTES[raw], DAILY[raw], DAY, moment) for raw in RAW)


def roll_up_span(
    raw: type[Sample], source: type[Sample], into: type[Sample], span: Span, begin: datetime, end: datetime
) -> int:
    """Make the spans from `begin` to `end` (ends of spans both) from the rows of `source`. Returns the rows written."""
    starts = [begin + number * span.length for number in range((end - begin) // span.length)]
    if not starts:
        return 0
    partitions.ensure(into, starts)
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"begin": begin, "end": end, "length": span.length}
        cursor.execute(_statement(raw, source, into), values)
        return int(cursor.rowcount)


def _catch_up(raw: type[Sample], source: type[Sample], into: type[Sample], span: Span, now: datetime) -> int:
    end = floor(now - span.grace, span.length)
    oldest = floor(now - kept(source), span.length)
    made = _newest(into, oldest, end)
    next_one = made + span.length if made else oldest
    ranges = [(max(oldest, next_one - span.again * span.length), next_one)] if made else []
    # What an outage left empty is passed over, so that it cannot be all that is looked at again and again.
    if first := _first(source, next_one, end):
        begin = floor(first, span.length)
        ranges.append((begin, min(end, begin + span.most)))
    return sum(roll_up_span(raw, source, into, span, *each) for each in ranges)


def floor(moment: datetime, length: timedelta) -> datetime:
    """The beginning of the span that holds it; days are those of UTC."""
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // length * length


def _newest(model: type[Sample], begin: datetime, end: datetime) -> datetime | None:
    return _between(model, begin, end).order_by("-taken_at").values_list("taken_at", flat=True).first()


def _first(model: type[Sample], begin: datetime, end: datetime) -> datetime | None:
    return _between(model, begin, end).order_by("taken_at").values_list("taken_at", flat=True).first()


def _between(model: type[Sample], begin: datetime, end: datetime) -> Any:
    return model._default_manager.filter(taken_at__gte=begin, taken_at__lt=end)


_EXPRESSIONS = {
    How.MAX: "max({})",
    How.MIN: "min({})",
    How.SUM: "sum({})",
    # The newest that is not null.
    How.LAST: "(array_agg({} ORDER BY taken_at DESC) FILTER (WHERE {} IS NOT NULL))[1]",
}


def _statement(raw: type[Sample], source: type[Sample], into: type[Sample]) -> str:
    names = [field.attname for field in raw._meta.concrete_fields]
    subject = [name for name in ("tenant_id", "cluster_id") if name in names]
    # A tenant's samples are its own wherever it lives.
    key = subject[:1]
    others = [name for name in names if name not in (*key, "taken_at")]
    how: dict[str, How] = {**dict.fromkeys(subject[1:], How.LAST), **HOW[raw]}
    columns = [*key, "taken_at", *others]
    made = [sql.SQL(_EXPRESSIONS[how[name]].replace("{}", "{0}")).format(sql.Identifier(name)) for name in others]
    comma = sql.SQL(", ")
    return sql.SQL(QUERIES["roll_up"]).format(
        into=sql.Identifier(into._meta.db_table),
        source=sql.Identifier(source._meta.db_table),
        columns=comma.join(map(sql.Identifier, columns)),
        key=comma.join([*map(sql.Identifier, key), sql.SQL("span")]),
        made=comma.join(made),
        conflict=comma.join(map(sql.Identifier, (*key, "taken_at"))),
        changes=comma.join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others),
    ).as_string(None)  # fmt: skip
