"""Executes a template's scripts in the scratch database, as one transaction: a whole template or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.postgres import connect
from tenants.schemas.compiler.model import Draft
from tenants.schemas.compiler.rewrite import Requalifier
from tenants.schemas.compiler.scratch import QUERIES, Scratch
from tenants.schemas.compiler.sources import Script
from tenants.schemas.compiler.sqlscript import ScriptError, Statement, split
from tenants.schemas.compiler.statements import (
    Action,
    ExtensionRequest,
    extension_request,
    judge,
    opened_to_public,
    schema_request,
)

EXTENSION_SCHEMA = "extensions"
_UNDEFINED = (pg.UndefinedFunction, pg.UndefinedObject, pg.UndefinedTable, pg.InvalidSchemaName)
_MAX_MESSAGE = 500


@dataclass(frozen=True)
class Step:
    """A judged statement: where it stands and what is to be done with it."""

    file: str
    statement: Statement
    action: Action


def plan(scripts: Sequence[Script], draft: Draft, *, tenant_schema: str | None) -> list[Step]:
    """Judge every statement before any is executed. Raises TemplateRefused at the first that cannot be."""
    steps: list[Step] = []
    for script in scripts:
        try:
            for statement in split(script.text):
                verdict = judge(statement, hardened=tenant_schema)
                if verdict.action is Action.REFUSE:
                    raise refused(script.name, statement, verdict.reason)
                if verdict.reason:
                    draft.note(verdict.reason)
                draft.hardened |= verdict.action is Action.PROTECTION
                if verdict.action not in {Action.SKIP, Action.PROTECTION}:
                    steps.append(Step(script.name, statement, verdict.action))
        except ScriptError as error:
            raise TemplateRefused(reason=str(error), file=script.name, line=error.line) from error
    return steps


def refused(file: str, statement: Statement, reason: str, hint: str | None = None) -> TemplateRefused:
    """The exception that points at a statement."""
    return TemplateRefused(reason=reason, file=file, line=statement.line, statement=statement.shortened(), hint=hint)


def create_extensions(scratch: Scratch, steps: Sequence[Step], draft: Draft) -> dict[tuple[str, str], str]:
    """Create the extensions the template asks for, where the tenants' database has them.

    Returns, for text that expects an extension's objects elsewhere, (schema, object) → the schema they are in.
    Those that cannot be made are remembered: often a dump lists more than its schema uses.
    """
    with connect(scratch.admin) as conn:
        homes = dict(conn.execute(QUERIES["extension_schemas"]).fetchall())
    requests = [extension_request(s.statement) for s in steps if s.action is Action.EXTENSION]
    if draft.timeseries and "timescaledb" in homes:
        requests.append(ExtensionRequest("timescaledb", None))
    moved: dict[str, set[str]] = {}
    with scratch.session() as conn:
        _schema(conn, EXTENSION_SCHEMA)
        for request in requests:
            if request.name == "plpgsql":
                continue
            home = homes.get(request.name, EXTENSION_SCHEMA)
            _schema(conn, home)
            _create_extension(conn, scratch, request.name, home, draft)
            if request.schema and request.schema != home:
                moved.setdefault(request.schema, set()).add(home)
        members = conn.execute(QUERIES["extension_members"]).fetchall()
    return {(old, name): home for old, homes_ in moved.items() for home, name in members if home in homes_}


def _schema(conn: psycopg.Connection[Any], name: str) -> None:
    schema = sql.Identifier(name)
    conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    conn.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(schema))


def _create_extension(conn: psycopg.Connection[Any], scratch: Scratch, name: str, home: str, draft: Draft) -> None:
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {} CASCADE").format(
        sql.Identifier(name), sql.Identifier(home)
    )
    try:
        conn.execute(statement)
    except pg.InsufficientPrivilege as error:
        try:  # not a trusted one: the control plane itself may be a superuser
            with psycopg.connect(scratch.admin.replace(dbname=scratch.name).conninfo(), autocommit=True) as admin:
                admin.execute(statement)
        except psycopg.Error:
            draft.missing_extensions[name] = message(error)
    except psycopg.Error as error:
        draft.missing_extensions[name] = message(error)
    if name not in draft.missing_extensions:
        draft.extension_schemas[name] = home
    else:
        draft.note(f"the extension {name} could not be created: {draft.missing_extensions[name]}")


def message(error: psycopg.Error) -> str:
    """The server's own words, with its detail: templates hold no tenants' values."""
    diag = error.diag
    parts = [diag.message_primary or str(error).strip() or type(error).__name__, diag.message_detail]
    return " — ".join(part for part in parts if part)[:_MAX_MESSAGE]


class Loader:
    """Executes judged statements on the open transaction of an import session."""

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        draft: Draft,
        moved: dict[tuple[str, str], str],
        *,
        with_data: bool,
    ) -> None:
        self._conn, self._draft, self._with_data = conn, draft, with_data
        self._requalify = (
            Requalifier(
                sorted({schema for schema, _ in moved}),
                lambda schema, name: moved.get((schema, name or "")),
                top_level=True,
            )
            if moved
            else None
        )

    def run(self, steps: Sequence[Step]) -> None:
        """Execute all of them. Raises TemplateRefused with the place and the server's reason."""
        for step in steps:
            try:
                self._execute(step)
            except psycopg.Error as error:
                line = self._line(step.statement, error)
                raise TemplateRefused(
                    reason=message(error), file=step.file, line=line,
                    statement=step.statement.shortened(), hint=self._hint(step, error),
                ) from error  # fmt: skip

    def _line(self, statement: Statement, error: psycopg.Error) -> int:
        """The line of the error's position inside a long statement, where the server gives one."""
        position = error.diag.statement_position
        if position is None or statement.copy_data is not None:
            return statement.line
        return statement.line + statement.text.count("\n", 0, int(position) - 1)

    def _execute(self, step: Step) -> None:
        statement = step.statement
        text = self._requalify.rewrite(statement.text) if self._requalify else statement.text
        if step.action is Action.EXTENSION:
            return
        if step.action is Action.COPY:
            if self._with_data:
                with self._conn.cursor().copy(text) as copy:
                    copy.write(statement.copy_data or "")
            return
        if step.action is Action.SCHEMA:
            self._create_schema(step)
            return
        if step.action is Action.OPEN:
            text = opened_to_public(statement)
        self._conn.execute(text, prepare=False)

    def _create_schema(self, step: Step) -> None:
        name = schema_request(step.statement)
        if name is None:
            raise refused(
                step.file, step.statement, "CREATE SCHEMA does more than name a schema",
                "Write CREATE SCHEMA name; and the objects as statements of their own.",
            )  # fmt: skip
        self._conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name)))

    def _hint(self, step: Step, error: psycopg.Error) -> str | None:
        missing = self._draft.missing_extensions
        if missing and isinstance(error, _UNDEFINED):
            names = ", ".join(sorted(missing))
            return (
                f"It may belong to an extension that could not be created here ({names}): install it on the server, or "
                "import with a superuser's login for this cluster if only a superuser may create it."
            )
        if isinstance(error, pg.InsufficientPrivilege):
            return "Templates are loaded by a role without privileges beyond their own schema; clones have none either."
        if isinstance(error, pg.UnsafeNewEnumValueUsage):
            return "The import is one transaction: put the value into CREATE TYPE instead of ALTER TYPE … ADD VALUE."
        if isinstance(error, pg.OutOfMemory):
            return "Raise max_locks_per_transaction on the cluster: a clone locks every object it makes."
        if isinstance(error, _UNDEFINED) and step.statement.keywords[:1] == ("DROP",):
            return "Dump without --clean: the import begins with an empty database."
        return error.diag.message_hint
