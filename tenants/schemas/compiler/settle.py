"""Looks at what a load left in the scratch database: is it one schema, and can all of it be cloned?

Runs inside the load's transaction, gives the schema its marker name and makes the declared time-series tables ready.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.schemas.compiler.lexer import identifier
from tenants.schemas.compiler.load import Step, refused
from tenants.schemas.compiler.model import Draft, ExtensionNeed
from tenants.schemas.compiler.scratch import QUERIES
from tenants.schemas.compiler.sqlscript import Statement
from tenants.schemas.timeseries import TimeSeries

_TIME_TYPES = {"timestamp with time zone", "timestamp without time zone", "date"}
_FORBIDDEN = {
    "definer": "is SECURITY DEFINER: it would run as the owner of the tenant's schema and step around row-level "
    "security; make it SECURITY INVOKER",
    "policy": "is a policy for named roles, or has a name that clones' own policies have (tenant_rw, tenant_ro, "
    "tenant_owner)",
    "foreign": "reaches outside the database, so a clone would not be isolated",
}


@dataclass(frozen=True)
class Table:
    """A table or partition and the row-level security the template gave it."""

    name: str
    row_security: bool
    forced: bool
    is_partition: bool
    has_policies: bool


@dataclass(frozen=True)
class Settled:
    """What the compiler must know of the schema beyond pg_dump's text."""

    tables: list[Table]
    closed_routines: list[str]
    matviews: set[str]
    names: dict[str, bool]
    size: dict[str, int]
    seed_rows: int


def settle(conn: psycopg.Connection[Any], draft: Draft, marker: str, steps: Sequence[Step]) -> Settled:
    """Check the schema that `steps` have made, rename it to `marker` and describe it. Raises TemplateRefused."""
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    conn.execute("SET LOCAL search_path = ''")
    draft.schema = _only_schema(conn, steps)
    _nothing_outside(conn)
    draft.extensions = _extensions(conn, draft.schema)
    conn.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(draft.schema), sql.Identifier(marker)))
    if draft.schema == "public":
        _drop_stock_comment(conn, marker)
    _nothing_forbidden(conn, draft.schema, marker)
    draft.timeseries = [_series(conn, draft, spec, marker) for spec in draft.timeseries]
    tables = [Table(*row) for row in conn.execute(QUERIES["tables"], {"schema": marker}).fetchall()]
    for table in tables:
        if table.forced:  # or pg_dump could not read its rows as the owner; every clone's tables are forced anyway
            conn.execute(
                sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(marker, table.name))
            )
    row = conn.execute(QUERIES["size"], {"schema": marker}).fetchone()
    return Settled(
        tables=tables,
        closed_routines=[name for (name,) in conn.execute(QUERIES["closed_routines"], {"schema": marker})],
        matviews={name for (name,) in conn.execute(QUERIES["matviews"], {"schema": marker})},
        names=_names(conn, marker),
        size=row[0] if row else {},
        seed_rows=sum(_rows(conn, marker, table.name) for table in tables),
    )


def _rows(conn: psycopg.Connection[Any], marker: str, table: str) -> int:
    row = conn.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(marker, table))).fetchone()
    return int(row[0]) if row else 0


def _only_schema(conn: psycopg.Connection[Any], steps: Sequence[Step]) -> str:
    schemas = conn.execute(QUERIES["schemas_in_use"]).fetchall()
    if not schemas:
        raise TemplateRefused(reason="the template makes no objects in any schema")
    if len(schemas) > 1:
        listed = "; ".join(f"{name}: {', '.join(some)}{' …' if n > len(some) else ''}" for name, n, some in schemas)
        reason = f"the objects are spread over {len(schemas)} schemas ({listed}), and a template is one"
        hint = "Import each schema as a template of its own, or dump only one (pg_dump -n)."
        stray = min(schemas, key=lambda schema: schema[1])[0]
        for step in steps:
            if _creates_in(step.statement, stray):
                raise refused(step.file, step.statement, reason, hint)
        raise TemplateRefused(reason=reason, hint=hint)
    return str(schemas[0][0])


def _creates_in(statement: Statement, schema: str) -> bool:
    """Whether it makes something and names the schema in front of it, quoted or not."""
    pairs = zip(statement.tokens, statement.tokens[1:], strict=False)
    return statement.keywords[:1] == ("CREATE",) and any(
        after.text == "." and identifier(name) == schema for name, after in pairs
    )


def _nothing_outside(conn: psycopg.Connection[Any]) -> None:
    found = conn.execute(QUERIES["outside_objects"]).fetchall()
    if found:
        listed = ", ".join(f"{kind} {name}" for kind, name in found[:5])
        raise TemplateRefused(reason=f"the template makes objects that belong to no schema: {listed}")


def _nothing_forbidden(conn: psycopg.Connection[Any], schema: str, marker: str) -> None:
    row = conn.execute(QUERIES["forbidden_objects"], {"schema": marker}).fetchone()
    if row is not None:
        raise TemplateRefused(reason=f"{row[0].replace(marker, schema)} {_FORBIDDEN[row[1]]}")


def _extensions(conn: psycopg.Connection[Any], schema: str) -> list[ExtensionNeed]:
    rows = conn.execute(QUERIES["extensions"]).fetchall()
    for name, home, _, _ in rows:
        if home == schema:
            raise TemplateRefused(
                reason=f"the tenants' database keeps the extension {name} in the schema {home!r}, which the template "
                "itself is called",
                hint="Move the extension there (ALTER EXTENSION … SET SCHEMA extensions) and import again.",
            )
    return [ExtensionNeed(name, home, version) for name, home, version, _ in rows]


def _drop_stock_comment(conn: psycopg.Connection[Any], marker: str) -> None:
    """initdb comments on `public`; that is not the template's."""
    row = conn.execute("SELECT obj_description(%s::regnamespace, 'pg_namespace')", [marker]).fetchone()
    if row and row[0] == "standard public schema":
        conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS NULL").format(sql.Identifier(marker)))


def _names(conn: psycopg.Connection[Any], marker: str) -> dict[str, bool]:
    """Object names of the schema, and whether one is a relation."""
    names: dict[str, bool] = {}
    for name, relation in conn.execute(QUERIES["object_names"], {"schema": marker}).fetchall():
        names[name] = relation or names.get(name, False)
    return names


def _series(conn: psycopg.Connection[Any], draft: Draft, spec: TimeSeries, marker: str) -> TimeSeries:
    """Check a declaration against the table and drop its partitions, which each clone gets by the day it is made."""
    row = conn.execute(QUERIES["timeseries_columns"], {"schema": marker, "table": spec.table}).fetchone()
    where = f"timeseries {spec.table!r}: "
    if row is None:
        raise TemplateRefused(reason=f"{where}the template has no such table", file="template.toml")
    strategy, keys, column, column_type, row_security, partitions = row
    if strategy != "r" or keys != 1 or column != spec.column:
        raise TemplateRefused(
            reason=f"{where}the table is not partitioned by range of its column {spec.column!r} alone",
            file="template.toml", hint=f"Create it with PARTITION BY RANGE ({spec.column}).",
        )  # fmt: skip
    if column_type not in _TIME_TYPES or (column_type == "date" and "hour" in spec.interval):
        raise TemplateRefused(
            reason=f"{where}{spec.column} is of type {column_type}, which {spec.interval} cannot divide",
            file="template.toml",
        )
    _drop_partitions(conn, draft, spec, marker, partitions)
    return dataclasses.replace(spec, own_policies=row_security)


def _drop_partitions(
    conn: psycopg.Connection[Any], draft: Draft, spec: TimeSeries, marker: str, partitions: Sequence[str]
) -> None:
    if not partitions:
        return
    table = sql.Identifier(marker, spec.table)
    row = conn.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    if row and row[0]:
        raise TemplateRefused(
            reason=f"timeseries {spec.table!r}: the table holds rows, which a clone made at another time has no "
            "partition for",
            file="template.toml", hint="Seed rows belong into other tables.",
        )  # fmt: skip
    for name in partitions:
        partition = sql.Identifier(marker, name)  # detached first, for the sake of foreign keys to the table
        conn.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(table, partition))
        conn.execute(sql.SQL("DROP TABLE {}").format(partition))
    draft.note(f"{spec.table}: the template's partitions were left out, each clone gets its own by date")
