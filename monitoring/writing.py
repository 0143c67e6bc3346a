"""Samples are written by COPY: a fleet's worth in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from django.db import connection
from psycopg import sql

from monitoring.models.samples import Sample


def write(model: type[Sample], rows: Sequence[Any]) -> int:
    """Write dataclasses whose fields are columns of `model`, within the caller's transaction. Returns how many.

    Their partition has to be there (`partitions.ensure`).
    """
    if not rows:
        return 0
    names = [field.name for field in fields(rows[0])]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(statement.as_string(None)) as copy:
        for row in rows:
            copy.write_row([getattr(row, name) for name in names])
    return len(rows)
