"""The rows of some tables as a backup has them: brought in beside, then exchanged in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql

from backups import capturing
from backups.engine.manifest import Manifest
from backups.engine.sessions import column_list, opened
from backups.models import KeptSchema
from backups.restores.common import check_backup, fill, remember, remove
from backups.restores.replacing import back_up_first, give_up_backup, kept_of
from backups.workflows import QUERIES, backup_of
from tenants import audit
from tenants.exceptions import CloneMismatch, Conflict
from tenants.founding import founder
from tenants.operations import Run
from tenants.postgres import connect, session, translate
from tenants.schemas import roles
from tenants.schemas.compiler import fingerprints

TAKEN = "controlplane: its rows were taken"
SETTINGS = (
    "SET LOCAL lock_timeout = '10s'; SET LOCAL search_path = ''; SET LOCAL DateStyle = ISO;"
    " SET LOCAL IntervalStyle = postgres; SET LOCAL client_encoding = 'UTF8'"
)


def restore_tables(run: Run) -> None:
    """Bring the tables in beside the present ones, then replace the rows of these; all or none of them."""
    tenant, kept, names = run.tenant, kept_of(run), run.operation.params["tables"]
    backup, source = check_backup(run)
    if run.operation.params.get("before"):
        back_up_first(run)
    with run.step("create roles") as needed:
        if needed:
            with session(kept.place.work_dsn()) as link, link.transaction():
                path = [kept.incoming_schema, *founder().search_path(tenant)[1:]]
                roles.create_roles(link, kept.incoming_schema, search_path=path)
    with run.step("restore the data") as needed:
        if needed:
            done = fill(run, kept.place, kept.incoming_schema, source, share=(30, 80), tables=names)
            remember(run, done=asdict(done))
    with run.step("replace the rows") as needed:
        if needed:
            with (
                connect(kept.place.work_dsn(), autocommit=True, statement_timeout_ms=0) as link,
                opened(capturing.reader(kept.place)) as reader,
            ):
                run.alive()
                replace_rows(link, reader, tenant.schema_name, kept.incoming_schema, _columns(source.manifest, names))
    with run.step("remove what was brought in") as needed:
        if needed:
            remove(kept.place, kept.incoming_schema, run.alive)
    done = run.operation.params["done"]
    with run.finish(backup=str(backup.pk), tables=names, **done):
        KeptSchema.objects.filter(pk=kept.pk).delete()
        audit.record(
            "backup.restore_tables", actor=run.actor, source=run.source, tenant=tenant, target=backup,
            after={"tables": names, "rows": done["rows"], "snapshot_at": source.manifest.snapshot_at,
                   "operation": str(run.operation.pk)},
            reason=run.operation.reason,
        )  # fmt: skip


def undo(run: Run) -> None:
    """The tenant keeps its rows; what was brought in goes."""
    kept = kept_of(run)
    with run.step("remove what was restored") as needed:
        if needed:
            remove(kept.place, kept.incoming_schema, run.alive)
            give_up_backup(run)
    with run.end():
        kept.delete()
        audit.record(
            "backup.restore_fail", actor=run.actor, source=run.source, tenant=run.tenant, target=backup_of(run),
            outcome="failure", after={"error": run.operation.unwinding, "operation": str(run.operation.pk)},
        )  # fmt: skip


def _columns(manifest: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """By the table that rows are loaded into: its columns without generated ones, as the backup has them."""
    return {t.target: t.columns for t in manifest.tables if t.name in names or t.target in names}


def replace_rows(
    link: Connection[Any], reader: Connection[Any], live: str, incoming: str, tables: dict[str, list[str]]
) -> None:
    """Put the rows of `incoming`, as `reader` sees them, in the place of those of `live`, in one transaction.

    Nothing happens when it is done already. Raises Conflict when a foreign key, a constraint or a missing partition is
    in the way, CloneMismatch should the definition of anything change by it.
    """
    mark = link.execute(QUERIES["schema_comment"], {"schema": incoming}).fetchone()
    if mark == (TAKEN,):
        return
    try:
        with link.transaction():
            link.execute(SETTINGS)
            before = fingerprints(link, [live])
            with roles.as_owner(link, incoming):
                note = sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(incoming), sql.Literal(TAKEN))
                link.execute(note)
            with roles.as_owner(link, live):
                _exchange(link, reader, live, incoming, tables)
            if fingerprints(link, [live]) != before:
                raise CloneMismatch(f"{live} would not be what it was after its rows were replaced.")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.IntegrityError) as error:
        raise Conflict(
            _refusal(error), code="rows_refused",
            hint="Name the tables that depend on each other together, or restore in place.",
        ) from None  # fmt: skip
    except psycopg.Error as error:
        raise translate(error) from error


def _refusal(error: psycopg.Error) -> str:
    """What PostgreSQL refused and over which key. Its detail holds the tenant's values, except where it is about tables
    as such (TRUNCATE), and names the one that refers to ours."""
    told, names = error.diag.message_primary or "It was refused", ""
    if isinstance(error, psycopg.errors.FeatureNotSupported):
        names = error.diag.message_detail or ""
    return f"{told}. {names}".strip()


def _exchange(
    link: Connection[Any], reader: Connection[Any], live: str, incoming: str, tables: dict[str, list[str]]
) -> None:
    """Keys and constraints hold for the new rows; triggers of the tenant's own do not fire, as in any restore."""
    ours = {name: sql.Identifier(live, name) for name in tables}
    link.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(ours.values())))
    _alter(link, ours.values(), "NO FORCE ROW LEVEL SECURITY", "DISABLE TRIGGER USER")
    for name, columns in tables.items():
        theirs, names = sql.Identifier(incoming, name), column_list(columns)
        # By its root, partitions and all. The types of two schemas are not the same; their texts are.
        chosen = sql.SQL(", ").join(map(sql.Identifier, columns))
        taken = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(chosen, theirs)
        with link.cursor() as into, reader.cursor() as out:
            put = into.copy(sql.SQL("COPY {} {} FROM STDIN").format(ours[name], names))
            with put as target, out.copy(taken) as origin:
                for block in origin:
                    target.write(block)
    # Events that wait (keys) first: a table that has some cannot be altered.
    link.execute("SET CONSTRAINTS ALL IMMEDIATE")
    _alter(link, ours.values(), "ENABLE TRIGGER USER", "FORCE ROW LEVEL SECURITY")


def _alter(link: Connection[Any], tables: Iterable[sql.Identifier], *changes: LiteralString) -> None:
    for change in changes:
        for table in tables:
            link.execute(sql.SQL("ALTER TABLE {} " + change).format(table))
