"""What a schema holds, as far as a backup has to know beyond its definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection, Cursor, sql

from backups.engine.definition import Partition, PartitionIndex
from backups.engine.errors import NotCovered
from backups.engine.manifest import BINARY, TEXT, SequenceState
from tenants.exceptions import NotFound
from tenants.postgres import load_queries
from tenants.schemas.timeseries import MARK

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

# Types whose binary form is the protocol's, the same on every server: numbers, text, times, json, network, bits,
# geometry, text search, ranges. Those of users and extensions can hold OIDs, which mean nothing elsewhere.
_PORTABLE = frozenset(
    (16, 17, 18, 19, 20, 21, 23, 25, 114, 600, 601, 602, 603, 604, 628, 650, 700, 701, 718, 774, 829, 869, 1042, 1043,
     1082, 1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3220, 3614, 3615, 3802, 3904, 3906, 3908, 3910, 3912,
     3926, 4451, 4532, 4533, 4534, 4535, 4536)
)  # fmt: skip
_POLICY_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


@dataclass(frozen=True)
class Relation:
    """One relation: `parent` is the OID of the partitioned table it belongs to, `root` the name of the topmost one when
    its rows must be routed anew (hash partitions)."""

    oid: int
    name: str
    kind: str
    populated: bool = field(compare=False)
    heap_bytes: int = field(compare=False)
    toast_bytes: int = field(compare=False)
    parent: int | None
    root: str | None


@dataclass(frozen=True)
class Rows:
    """A table whose rows are to be copied. Sizes in bytes; `source` is what COPY is told to read."""

    name: str
    target: str
    columns: list[str]
    format: str
    bytes: int
    pages: int
    whole: bool = False  # a hypertable: read through its root, never by pages


def relations(connection: Connection[Any], schema: str) -> list[Relation]:
    """Everything in the schema that pg_class knows. Raises NotFound, and NotCovered for foreign tables."""
    there = connection.execute(QUERIES["namespace"], [schema], prepare=True)
    return relations_in(schema, there, ask_relations(connection, schema))


def ask_relations(connection: Connection[Any], schema: str, *, sizes: bool = True) -> Cursor[Any]:
    """The question; in a pipeline it is answered later. Without `sizes` they are 0."""
    return connection.execute(QUERIES["relations"], {"schema": schema, "sizes": sizes}, prepare=True)


def relations_in(schema: str, there: Cursor[Any], rows: Cursor[Any]) -> list[Relation]:
    """What was answered. Raises NotFound when the namespace is not `there`, NotCovered for foreign tables."""
    if there.fetchone() is None:
        raise NotFound(f"There is no schema {schema}.", code="schema_missing")
    found = [Relation(*row) for row in rows.fetchall()]
    for relation in found:
        if relation.kind == "f":
            raise NotCovered(f"{relation.name} is a foreign table: its rows are elsewhere and would be lost.")
    return found


def ask_columns(connection: Connection[Any], found: Sequence[Relation]) -> Cursor[Any]:
    """The question for the columns of all tables."""
    return connection.execute(QUERIES["columns"], [[r.oid for r in found if r.kind == "r"]], prepare=True)


def rows_of(
    connection: Connection[Any],
    found: Sequence[Relation],
    answered: Cursor[Any],
    block: int,
    hypertables: tuple[set[str], set[str]],
) -> list[Rows]:
    """The tables whose rows are to be copied, each with its columns and the form to copy them in. `answered` is what
    `ask_columns` asked."""
    roots, chunks = hypertables
    columns = {oid: (names, types) for oid, names, types in answered.fetchall()}
    portable = _portable(connection, {oid for _, types in columns.values() for oid in types})
    result = []
    for table in found:
        if table.kind != "r" or table.name in chunks:
            continue
        names, types = columns.get(table.oid, ([], []))
        form = BINARY if all(oid in portable for oid in types) else TEXT
        size = table.heap_bytes + table.toast_bytes
        pages = table.heap_bytes // block
        result.append(Rows(table.name, table.root or table.name, names, form, size, pages, table.name in roots))
    return result


def hypertables(
    connection: Connection[Any], schema: str, extensions: Iterable[Sequence[str]]
) -> tuple[set[str], set[str]]:
    """The names of TimescaleDB's tables, and those of their chunks."""
    if not any(name == "timescaledb" for name, *_ in extensions):
        return set(), set()
    found = connection.execute(QUERIES["hypertables"], [schema]).fetchall()
    return {name for name, _ in found}, {chunk for _, chunks in found for chunk in chunks}


def _portable(connection: Connection[Any], types: set[int]) -> set[int]:
    """Those types that can be copied in binary form: portable ones, enums (their labels are sent), and domains over and
    arrays of portable ones."""
    known: dict[int, tuple[str, int, int]] = {}
    missing = {oid for oid in types if oid not in _PORTABLE}
    while missing:
        fetched = connection.execute(QUERIES["types"], [sorted(missing)], prepare=True).fetchall()
        known.update({oid: (kind, base, element) for oid, kind, base, element in fetched})
        referred = {other for _, _, base, element in fetched for other in (base, element) if other}
        missing = {oid for oid in referred if oid not in known and oid not in _PORTABLE}

    def is_portable(oid: int) -> bool:
        if oid in _PORTABLE:
            return True
        kind, base, element = known.get(oid, ("", 0, 0))
        if kind == "d":
            return is_portable(base)
        return kind == "e" or (element in _PORTABLE)  # an array names its element's OID: fixed for these alone

    return {oid for oid in types if is_portable(oid)}


def ask_sequences(connection: Connection[Any], schema: str, found: Sequence[Relation]) -> Cursor[Any] | None:
    """The question for where each sequence stands; None when there is none."""
    names = [relation.name for relation in found if relation.kind == "S"]
    if not names:
        return None
    each = [
        sql.SQL("SELECT {}, last_value, is_called FROM {}").format(sql.Literal(name), sql.Identifier(schema, name))
        for name in names
    ]
    return connection.execute(sql.SQL(" UNION ALL ").join(each), prepare=False)


def sequences_in(answered: Cursor[Any] | None) -> list[SequenceState]:
    """Where each sequence stands."""
    rows = answered.fetchall() if answered is not None else []
    return [SequenceState(str(name), int(value), bool(called)) for name, value, called in rows]


def ask_marks(connection: Connection[Any], found: Sequence[Relation]) -> Cursor[Any] | None:
    """The question for the declared time-series tables; None when there can be none."""
    tables = [relation.oid for relation in found if relation.kind == "p"]
    if not tables:
        return None
    return connection.execute(QUERIES["marks"], {"tables": tables, "mark": MARK}, prepare=True)


def marks_in(answered: Cursor[Any] | None) -> dict[str, tuple[str, str]]:
    """Declared time-series tables: by name, the policy that says so and its comment."""
    rows = answered.fetchall() if answered is not None else []
    return {name: (policy, comment) for _, name, policy, comment in rows}


def partitions(
    connection: Connection[Any], schema: str, found: Sequence[Relation], series: Sequence[str], marker: str
) -> list[Partition]:
    """The partitions of the declared time-series tables, which come and go and are no part of a definition, as
    statements for a schema called `marker`. Raises NotCovered for one that is more than a partition of its parent."""
    parents = [relation.oid for relation in found if relation.name in series]
    if not parents:
        return []
    oids = [relation.oid for relation in found if relation.parent in parents]
    with connection.pipeline():
        rows = connection.execute(QUERIES["partitions"], [parents], prepare=True)
        its_indexes = connection.execute(QUERIES["partition_indexes"], [oids], prepare=True)
        its_policies = connection.execute(QUERIES["partition_policies"], [oids], prepare=True)
    indexes, policies = _grouped(its_indexes.fetchall()), _grouped(its_policies.fetchall())
    result = []
    for oid, name, parent, bound, enabled, forced, odd in rows.fetchall():
        if odd is not None:
            raise NotCovered(f"The partition {name} of {parent} {odd}, which a backup would lose.")
        table = sql.Identifier(schema, name).as_string()
        create = f"CREATE TABLE {table} PARTITION OF {sql.Identifier(schema, parent).as_string()} {bound}"
        protect = [_policy(table, *policy) for policy in policies.get(oid, ())]
        if enabled:
            protect.insert(0, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        if forced:
            protect.insert(0, f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        result.append(
            Partition(
                name=name,
                create=create.replace(schema, marker),
                indexes=[_index(schema, table, *index, marker=marker) for index in indexes.get(oid, ())],
                protect=[text.replace(schema, marker) for text in protect],
            )
        )
    return result


def _grouped(rows: Sequence[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    groups: dict[int, list[tuple[Any, ...]]] = {}
    for first, *rest in rows:
        groups.setdefault(first, []).append(tuple(rest))
    return groups


def _index(
    schema: str, table: str, name: str, constraint: str | None, text: str, parent: str | None, *, marker: str
) -> PartitionIndex:
    if constraint is not None:
        text = f"ALTER TABLE ONLY {table} ADD CONSTRAINT {sql.Identifier(constraint).as_string()} {text}"
    attach = None
    if parent is not None:
        ours, theirs = (sql.Identifier(schema, n).as_string() for n in (name, parent))
        attach = f"ALTER INDEX {theirs} ATTACH PARTITION {ours}".replace(schema, marker)
    return PartitionIndex(name, text.replace(schema, marker), attach)


def _policy(
    table: str, name: str, permissive: bool, command: str, roles: list[str], using: str | None, check: str | None
) -> str:
    to = ", ".join("PUBLIC" if role == "public" else sql.Identifier(role).as_string() for role in roles)
    text = f"CREATE POLICY {sql.Identifier(name).as_string()} ON {table}"
    text += f" AS {'PERMISSIVE' if permissive else 'RESTRICTIVE'} FOR {_POLICY_COMMANDS[command]} TO {to}"
    text += f" USING ({using})" if using is not None else ""
    return text + (f" WITH CHECK ({check})" if check is not None else "")


def ask_activity(connection: Connection[Any], schema: str) -> Cursor[Any]:
    """The question for a number that changes whenever the tables' rows do; NULL when the server cannot say."""
    return connection.execute(QUERIES["activity"], [schema], prepare=True)
