"""Rows of several tables by one statement.

For the few places that everybody waits for: a round trip, and what the ORM does to write each statement, cost more
there than the database's own work. Everywhere else the ORM is the better choice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from django.db import connection
from django.db.models import AutoField, Field, Model
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Transformer

Columns = tuple["Field[Any, Any]", ...]


@functools.cache
def _insertable(model: type[Model]) -> Columns:
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, AutoField))


def insert(*rows: Model) -> None:
    """Insert new rows, of any tables, by one statement.

    Keys that the database makes are not read back, and `save()` is not called. Raises IntegrityError.
    """
    parts = []
    with connection.cursor() as cursor:
        # Written out here: psycopg looks for the placeholders of a statement this long anew each time, for 2 ms.
        literal = Transformer.from_context(connection.connection).as_literal
        for number, (model, group) in enumerate(groupby(rows, type)):
            written = ", ".join(f"({_values(row, literal)})" for row in group)
            parts.append(f"i{number} AS ({_insert_into(model)} {written})")
        cursor.execute(f"WITH {', '.join(parts)} SELECT")
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def _values(row: Model, literal: Callable[[Any], Buffer]) -> str:
    values = (field.get_db_prep_save(field.pre_save(row, True), connection) for field in _insertable(type(row)))
    return ", ".join(bytes(literal(value)).decode() for value in values)


@functools.cache
def _insert_into(model: type[Model]) -> str:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES").format(
        sql.Identifier(model._meta.db_table),
        sql.SQL(", ").join(sql.Identifier(str(field.column)) for field in _insertable(model)),
    )
    return statement.as_string()


def select_one(query: str, models: Mapping[str, type[Model]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """One row of each of `models` by one statement, by name; None where it found none.

    `query` holds `{name}` where the columns of the table that it calls `name` belong. Large columns that a model lists
    as `heavy_fields` are left for later.
    """
    chosen = {name: _readable(model) for name, model in models.items()}
    with connection.cursor() as cursor:
        cursor.execute(_with_columns(query, tuple(models.items())), parameters)
        values = cursor.fetchone() or ()
    found: dict[str, Any] = {}
    begin = 0
    for name, fields in chosen.items():
        found[name] = _instance(models[name], fields, values[begin : begin + len(fields)])
        begin += len(fields)
    return found


@functools.cache
def _readable(model: type[Model]) -> Columns:
    heavy = getattr(model, "heavy_fields", ())
    return tuple(field for field in model._meta.concrete_fields if field.attname not in heavy)


@functools.cache
def _with_columns(query: str, models: tuple[tuple[str, type[Model]], ...]) -> str:
    columns = {
        name: sql.SQL(", ").join(sql.Identifier(name, str(field.column)) for field in _readable(model))
        for name, model in models
    }
    return sql.SQL(query).format(**columns).as_string()


def _instance(model: type[Model], fields: Columns, values: Sequence[Any]) -> Any:
    if not values or values[0] is None:
        return None
    read = [
        field.from_db_value(value, None, connection) if hasattr(field, "from_db_value") else value
        for field, value in zip(fields, values, strict=True)
    ]
    return model.from_db(connection.alias, [field.attname for field in fields], read)
