"""Samples that nobody took: what a fleet would leave in weeks, made by the database itself within minutes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection

from monitoring import partitions
from monitoring.models import ProbeState
from monitoring.models.samples import Sample
from monitoring.readings import PROBES
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
_CHUNK = timedelta(days=1)


def invent(
    raw: type[Sample], model: type[Sample], *, cluster: int, tenants: Sequence[uuid.UUID] = (),
    begin: datetime, end: datetime, every: timedelta,
) -> int:  # fmt: skip
    """Fill `model` (of the kind of `raw`) with a look every so often, of these tenants. Returns the number of rows.

    The figures follow a day's course, differ by tenant and grow; the same call makes the same ones.
    """
    table, number = model._meta.db_table, 0
    with connection.cursor() as cursor:
        for first, last in _chunks(begin, end, every):
            partitions.ensure(model, [first, last])
            values: dict[str, Any] = {
                "cluster": cluster,
                "tenants": list(tenants),
                "begin": first,
                "end": last,
                "every": every,
            }
            cursor.execute(QUERIES[f"invent_{raw._meta.db_table}"].replace("{table}", table), values)
            number += cursor.rowcount
        cursor.execute(f"ANALYZE {connection.ops.quote_name(table)}")
    return number


def _chunks(begin: datetime, end: datetime, every: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """First and last look of each day's worth, so that no statement and no partition's lock is a long one."""
    while begin <= end:
        looks = min((end - begin) // every, max(0, _CHUNK // every - 1))
        yield begin, begin + looks * every
        begin += (looks + 1) * every


def looked(raw: type[Sample], cluster: int | None, at: datetime) -> None:
    """Say that the probe looked at `at`, so that its rows are the newest."""
    subject: dict[str, Any] = {"cluster_id": cluster, "probe": PROBES[raw]}
    ProbeState.objects.update_or_create(
        **subject,
        defaults={"tried_at": at, "ok_at": at, "error": "", "failing_since": None},
    )
