"""From a source to a proven clone script."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence

import psycopg
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.postgres import Dsn, connect
from tenants.schemas.compiler.assemble import as_plain_tables, assemble, rewrite_statements
from tenants.schemas.compiler.load import EXTENSION_SCHEMA, Loader, Step, create_extensions, message, plan
from tenants.schemas.compiler.model import CompiledTemplate, Draft, LiveSchema, Source, SqlDirectory
from tenants.schemas.compiler.pgdump import DumpFailed, dump_statements
from tenants.schemas.compiler.scratch import Scratch, scratch_database
from tenants.schemas.compiler.settle import Settled, settle
from tenants.schemas.compiler.sources import read_source
from tenants.schemas.compiler.sqlscript import Statement
from tenants.schemas.compiler.verify import ReplayFailed, prove

MAX_SCRIPT_BYTES = 128 * 1024 * 1024
# Functions that defaults, checks and indexes call may name things without their schema. pg_dump's own empty search_path
# is tried first, since with it nothing can be mistaken for another.
_UNDEFINED = {"42883", "42P01", "42704", "3F000"}


def compile_template(
    source: Source, *, dsn: Dsn, reader: Dsn | None = None, with_data: bool = True
) -> CompiledTemplate:
    """Turn `source` into a clone script and prove on the cluster of `dsn` that it makes exact clones.

    `dsn` is the control plane's login in the tenants' database; everything happens in a scratch database beside it,
    of which nothing remains. A live schema is read as `reader`, where one is given. `with_data=False` leaves seed rows
    and sequences' positions out.
    Raises TemplateRefused for what cannot be cloned, ClusterError and its kind when the cluster does not play along.
    """
    draft, marker = Draft(), f"cpm_{secrets.token_hex(16)}"
    with connect(dsn) as conn:
        major = conn.info.server_version // 10_000
    scripts = read_source(source, draft, reader or dsn, server_major=major, with_data=with_data)
    if any(marker in script.text for script in scripts):  # pragma: no cover - 128 random bits
        raise TemplateRefused(reason="the template holds the marker chosen for it", hint="Import it again.")
    tenant_schema = source.name if isinstance(source, LiveSchema) else None
    steps = plan(scripts, draft, tenant_schema=tenant_schema)
    with scratch_database(dsn) as scratch:
        settled = _load(scratch, steps, source, draft, marker, with_data=with_data)
        statements = _take_apart(scratch, draft, settled, marker, with_data=with_data)
        script, fingerprint = _proven(scratch, statements, draft, settled, marker, with_data=with_data)
        version = scratch.server_version_num
    return CompiledTemplate(
        script=script,
        marker=marker,
        fingerprint=fingerprint,
        size={**settled.size, "seed_rows": settled.seed_rows if with_data else 0},
        extensions=draft.extensions,
        timeseries=draft.timeseries,
        notes=draft.notes,
        server_version_num=version,
        description=draft.description,
    )


def _load(
    scratch: Scratch, steps: Sequence[Step], source: Source, draft: Draft, marker: str, *, with_data: bool
) -> Settled:
    """Run the steps in one transaction and describe what they made."""
    moved = create_extensions(scratch, steps, draft)
    try:
        with scratch.session() as conn, conn.transaction():
            _search_path(conn, source, draft)
            Loader(conn, draft, moved, with_data=with_data).run(steps)
            settled = settle(conn, draft, marker, steps)
    except psycopg.Error as error:  # deferred constraints, a lost connection
        raise TemplateRefused(reason=message(error).replace(marker, draft.schema)) from error
    if draft.hardened:  # a tenant's own schema: its row-level security is the control plane's
        tables = [
            dataclasses.replace(table, row_security=table.row_security and table.has_policies)
            for table in settled.tables
        ]
        settled = dataclasses.replace(settled, tables=tables)
    return settled


def _search_path(conn: psycopg.Connection[object], source: Source, draft: Draft) -> None:
    """Files name objects plainly and mean the template's schema; dumps say themselves what they mean."""
    schema = "public"
    if isinstance(source, SqlDirectory):
        schema = draft.schema
        conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    path = [schema, *sorted({EXTENSION_SCHEMA, *draft.extension_schemas.values()})]
    conn.execute(
        sql.SQL("SET LOCAL search_path = {}").format(sql.SQL(", ").join(sql.Identifier(name) for name in path))
    )


def _take_apart(scratch: Scratch, draft: Draft, settled: Settled, marker: str, *, with_data: bool) -> list[Statement]:
    """pg_dump's statements for the loaded schema, with text that names it following the marker."""
    try:
        statements = dump_statements(scratch.dsn, marker, server_major=scratch.major, with_data=with_data)
    except DumpFailed as error:
        raise TemplateRefused(reason=f"pg_dump cannot write it: {error}") from error
    if "timescaledb" in draft.extension_schemas and draft.timeseries:
        statements = as_plain_tables(statements, draft.timeseries)
        draft.timeseries = [dataclasses.replace(spec, hypertable=True) for spec in draft.timeseries]
    return rewrite_statements(statements, draft, settled, marker)


def _proven(
    scratch: Scratch, statements: Sequence[Statement], draft: Draft, settled: Settled, marker: str, *, with_data: bool
) -> tuple[str, str]:
    """The script and its clones' fingerprint; the search_path is widened only when functions need it."""
    homes = sorted({need.schema for need in draft.extensions})
    wide = ", ".join([marker, *[sql.Identifier(home).as_string() for home in homes]])
    for path in ("''", wide):
        script = assemble(statements, draft, settled, marker, search_path=path, with_data=with_data)
        if len(script.encode()) > MAX_SCRIPT_BYTES:
            raise TemplateRefused(
                reason=f"its clone script is larger than {MAX_SCRIPT_BYTES // 2**20} MiB",
                hint="Import it without its rows.",
            )
        try:
            return script, prove(scratch, script, statements, draft, marker, with_data=with_data)
        except ReplayFailed as error:
            if path == wide or error.sqlstate not in _UNDEFINED:
                raise TemplateRefused(
                    reason=f"it cannot be cloned: {str(error).replace(marker, draft.schema)}",
                    hint="Functions used by defaults, checks, generated columns, indexes and materialized views must "
                    "name what they use with its schema, or carry a SET search_path.",
                ) from error
    raise AssertionError("unreachable")  # pragma: no cover
