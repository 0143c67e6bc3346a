"""Makes the clone script out of pg_dump's statements: one message, sent in a transaction the caller opens.

The caller has made the roles and the (empty) schema and has said SET LOCAL ROLE <schema>_owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg import sql

from tenants.identifiers import check_plain_name
from tenants.schemas.compiler.lexer import identifier
from tenants.schemas.compiler.model import Draft
from tenants.schemas.compiler.pgdump import is_row_security
from tenants.schemas.compiler.rewrite import Requalifier, bare_words
from tenants.schemas.compiler.settle import Settled, Table
from tenants.schemas.compiler.sqlscript import Statement, split
from tenants.schemas.timeseries import TimeSeries, hypertables

_DATA = frozenset({"INSERT"})
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE"})

# Privileges come to every object as it is made, and to those made later (partitions). Never TRUNCATE, REFERENCES or
# TRIGGER: row-level security does not cover them.
_PREAMBLE = """\
SET LOCAL check_function_bodies = off;
SET LOCAL default_table_access_method = heap;
SET LOCAL default_tablespace = '';
SET LOCAL xmloption = content;
SET LOCAL search_path = {search_path};
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner IN SCHEMA {m} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {m}_rw;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner IN SCHEMA {m} GRANT SELECT ON TABLES TO {m}_ro;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner IN SCHEMA {m} GRANT USAGE ON SEQUENCES TO {m}_rw;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner IN SCHEMA {m} GRANT EXECUTE ON FUNCTIONS TO {m}_rw;
ALTER DEFAULT PRIVILEGES FOR ROLE {m}_owner IN SCHEMA {m} GRANT USAGE ON TYPES TO {m}_rw, {m}_ro;
GRANT USAGE ON SCHEMA {m} TO {m}_rw, {m}_ro;
"""


def render(script: str, marker: str, schema: str) -> str:
    """The clone script for `schema`. Raises ValueError unless that is a plain lower-case name of at most 57 bytes."""
    return script.replace(marker, check_plain_name(schema))


def rewrite_statements(statements: Sequence[Statement], draft: Draft, settled: Settled, marker: str) -> list[Statement]:
    """Let text that names the schema follow its new name: function bodies, dynamic SQL, search_path settings."""
    rewritten: list[Statement] = []
    for statement in statements:
        words = statement.keywords
        if (words[:1] and words[0] in _DATA) or words[:2] == ("COMMENT", "ON") or words[:2] == ("CREATE", "TYPE"):
            rewritten.append(statement)
            continue
        routine = words[:1] == ("CREATE",) and len(words) > 1 and words[1] in _ROUTINES
        requalifier = _requalifier(statement, draft.schema, settled.names, marker, routine=routine)
        text = requalifier.rewrite(statement.text)
        if requalifier.left and routine:
            draft.note(
                f"{_routine_name(statement, marker)}: the literal {draft.schema!r} was left as it is; "
                "if it means the schema, use current_schema()"
            )
        if text != statement.text:
            draft.note(f"{_routine_name(statement, marker)}: its text names the schema and follows each clone's name")
            statement = next(split(text + ";"))
        rewritten.append(statement)
    return rewritten


def _requalifier(
    statement: Statement, schema: str, names: dict[str, bool], marker: str, *, routine: bool
) -> Requalifier:
    # A name that is also a relation's, or stands alone in the body, may be an alias: then only known objects count.
    ambiguous = not routine or names.get(schema, False) or _is_alias(statement, schema)

    def decide(_: str, member: str | None) -> str | None:
        return marker if member in names or member is None or not ambiguous else None

    return Requalifier([schema], decide, top_level=False)


def _is_alias(statement: Statement, schema: str) -> bool:
    body = next((t for t in statement.tokens if t.kind == "dollar"), None)
    if body is None or schema.lower() not in body.text.lower():
        return False
    tag = body.text[: body.text.index("$", 1) + 1]
    content = re.sub(r"(?i)search_path\s*(?:=|\bto\b)[^;]*", "", body.text[len(tag) : -len(tag)])
    return schema in bare_words(content)


def _routine_name(statement: Statement, marker: str) -> str:
    head = statement.text.split("(", 1)[0].split("\n", 1)[0]
    return " ".join(head.split()[1:]).replace(f"{marker}.", "")


def as_plain_tables(statements: Sequence[Statement], specs: Sequence[TimeSeries]) -> list[Statement]:
    """For TimescaleDB: declared tables lose their native partitioning, which create_hypertable takes the place of."""
    names = {spec.table for spec in specs}
    changed: list[Statement] = []
    for statement in statements:
        text = statement.text
        if names & {identifier(token) for token in statement.tokens[:12]}:
            text = re.sub(r"\nPARTITION BY RANGE \([^()]*\)\Z", "", text)
            text = re.sub(r"\A(CREATE (?:UNIQUE )?INDEX \S+ ON) ONLY ", r"\1 ", text)
        changed.append(statement if text == statement.text else next(split(text + ";")))
    return changed


def assemble(
    statements: Sequence[Statement], draft: Draft, settled: Settled, marker: str, *, search_path: str, with_data: bool
) -> str:
    """The whole clone script for the schema `marker`."""
    body = [f"{_local(s.text)};" for s in statements if not is_row_security(s)]
    if not with_data:  # pg_dump fills materialized views only along with the tables
        body += _refreshes(statements, settled, marker)
    policies = [f"{s.text};" for s in statements if is_row_security(s) and "POLICY" in s.keywords[:3]]
    hypertable_schema = draft.extension_schemas.get("timescaledb")
    parts = [
        _PREAMBLE.format(m=marker, search_path=search_path),
        "\n".join(body),
        "\n",
        hypertables(marker, draft.timeseries, hypertable_schema) if hypertable_schema else "",
        *_closed(settled, marker),
        "\n".join(policies),
        "\n",
        *[_protection(table, draft, marker) for table in settled.tables],
        *[_mark(spec, marker) for spec in draft.timeseries],
    ]
    return "".join(parts)


def _local(text: str) -> str:
    """Settings between the objects (a table's access method) must end with the transaction."""
    return re.sub(r"\ASET (?!LOCAL)", "SET LOCAL ", text)


def _refreshes(statements: Sequence[Statement], settled: Settled, marker: str) -> list[str]:
    """In the order of their creation, which is that of their dependencies."""
    commands = []
    for statement in statements:
        found = statement.tokens
        if statement.keywords[:3] == ("CREATE", "MATERIALIZED", "VIEW") and identifier(found[5]) in settled.matviews:
            commands.append(f"REFRESH MATERIALIZED VIEW {marker}.{found[5].text};")
    return commands


def _closed(settled: Settled, marker: str) -> list[str]:
    return [f"REVOKE EXECUTE ON ROUTINE {routine} FROM {marker}_rw;\n" for routine in settled.closed_routines]


def _protection(table: Table, draft: Draft, marker: str) -> str:
    """Row-level security for one table. A template's own is kept as it is, with a policy for the owner added; policies
    that it has not enabled stay without effect, because another one allows everything."""
    name = sql.Identifier(marker, table.name).as_string()
    force = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n"
    if table.row_security and not table.has_policies:
        draft.note(f"{table.name}: row-level security without a policy keeps it closed to all but the owner")
    if table.row_security:
        policy = f"CREATE POLICY tenant_owner ON {name} FOR ALL TO {marker}_owner USING (true) WITH CHECK (true);\n"
        return force + policy
    if table.has_policies:
        draft.note(f"{table.name}: its policies are not enabled; in clones the restrictive ones among them take effect")
    return (
        force
        + f"CREATE POLICY tenant_rw ON {name} FOR ALL TO {marker}_owner, {marker}_rw USING (true) WITH CHECK (true);\n"
        + f"CREATE POLICY tenant_ro ON {name} FOR SELECT TO {marker}_ro USING (true);\n"
    )


def _mark(spec: TimeSeries, marker: str) -> str:
    """Tells fingerprints, in the database itself, that this table's partitions come and go."""
    policy = "tenant_owner" if spec.own_policies else "tenant_rw"
    return (
        sql.SQL("COMMENT ON POLICY {} ON {} IS {};\n")
        .format(sql.Identifier(policy), sql.Identifier(marker, spec.table), sql.Literal(spec.mark()))
        .as_string()
    )
