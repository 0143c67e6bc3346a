"""The tables of samples are partitioned by time: a day, a month or a year at a time, by how long they are kept.

Whoever writes makes sure first that the partition is there; retention drops whole ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

from monitoring.models import samples
from monitoring.models.samples import Sample
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

RAW: tuple[type[Sample], ...] = (
    samples.TenantActivity,
    samples.TenantSize,
    samples.ClusterSample,
    samples.FleetSample,
)
FIVE_MINUTES: dict[type[Sample], type[Sample]] = {
    samples.TenantActivity: samples.TenantActivity5m,
    samples.TenantSize: samples.TenantSize5m,
    samples.ClusterSample: samples.ClusterSample5m,
    samples.FleetSample: samples.FleetSample5m,
}
DAILY: dict[type[Sample], type[Sample]] = {
    samples.TenantActivity: samples.TenantActivityDaily,
    samples.TenantSize: samples.TenantSizeDaily,
    samples.ClusterSample: samples.ClusterSampleDaily,
    samples.FleetSample: samples.FleetSampleDaily,
}


# Partitions, by their beginning, that this process knows to be there.
_there: set[tuple[type[Sample], datetime]] = set()


def kept(model: type[Sample]) -> timedelta:
    """How long rows of `model` are kept."""
    if model in RAW:
        return timedelta(days=settings.MONITORING_RAW_DAYS)
    if model in FIVE_MINUTES.values():
        return timedelta(days=settings.MONITORING_5M_DAYS)
    return timedelta(days=settings.MONITORING_DAILY_DAYS)


def bounds(model: type[Sample], moment: datetime) -> tuple[datetime, datetime]:
    """Beginning and end of the partition that holds `moment`: a UTC day, month or year."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if model in RAW:
        return day, day + timedelta(days=1)
    if model in FIVE_MINUTES.values():
        begin = day.replace(day=1)
        return begin, (begin + timedelta(days=32)).replace(day=1)
    begin = day.replace(month=1, day=1)
    return begin, begin.replace(year=begin.year + 1)


def _suffix(model: type[Sample], begin: datetime) -> str:
    return begin.strftime("%Y%m%d" if model in RAW else "%Y%m" if model in FIVE_MINUTES.values() else "%Y")


def ensure(model: type[Sample], moments: Iterable[datetime]) -> None:
    """Make the partitions that rows taken at these moments go into, where they are missing."""
    for begin, end in {bounds(model, moment) for moment in moments}:
        if (model, begin) not in _there:
            _create(model, begin, end)
            # Only what is committed is there: a caller's transaction may still take it back.
            transaction.on_commit(functools.partial(_there.add, (model, begin)))


def _create(model: type[Sample], begin: datetime, end: datetime) -> None:
    table = model._meta.db_table
    statement = sql.SQL(QUERIES["create_partition"]).format(
        partition=sql.Identifier(f"{table}_{_suffix(model, begin)}"),
        table=sql.Identifier(table),
        begin=sql.Literal(begin.isoformat()),
        end=sql.Literal(end.isoformat()),
    )
    # Two that make the same one at once would both find it missing.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(QUERIES["lock_partitions"], [table])
        cursor.execute(statement.as_string())


def drop_old(now: datetime) -> list[str]:
    """Drop the partitions whose youngest row is older than its kind is kept. Returns their names."""
    _there.clear()
    dropped = []
    for model in (*RAW, *FIVE_MINUTES.values(), *DAILY.values()):
        table, oldest = model._meta.db_table, bounds(model, now - kept(model))[0]
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["partitions"], [table])
            names = [name for (name,) in cursor.fetchall()]
        old = [name for name in names if name < f"{table}_{_suffix(model, oldest)}"]
        for name in old:
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(QUERIES["drop_partition"]).format(sql.Identifier(name)).as_string())
        dropped += old
    return dropped
