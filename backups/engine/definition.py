"""What makes a schema again: a clone script, taken apart into what must come before the rows and what comes after.

pg_dump writes objects in three sections: what rows need, the rows, and what is cheaper or only possible with rows in
place. A clone script is its text, so the first statement of the third kind is where the rows belong; seed rows are left
out, since a backup has them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenants.schemas.compiler.lexer import identifier
from tenants.schemas.compiler.sqlscript import Statement, split

INDEX, FOREIGN, OTHER, PROTECT = "index", "foreign", "other", "protect"


@dataclass(frozen=True)
class After:
    """A statement for when the rows are there. `phase`: when, and whether beside others. `tables`: those it locks."""

    sql: str
    phase: str
    tables: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PartitionIndex:
    """An index of a partition, and how it becomes its parent's."""

    name: str
    create: str
    attach: str | None


@dataclass(frozen=True)
class Partition:
    """A partition of a declared time-series table, as statements."""

    name: str
    create: str
    indexes: list[PartitionIndex]
    protect: list[str]


@dataclass(frozen=True)
class Definition:
    """Statements for a schema called `marker`.

    `source` is the fingerprint of a schema that this describes, `fingerprint` that of one made by it: they differ where
    a tenant's migrations left something that is not restored (grants). `settings` begin each of its transactions.
    `matviews` are in the order in which they can be filled.
    """

    marker: str
    source: str
    fingerprint: str
    settings: str
    before: str
    after: list[After]
    matviews: list[str]
    partitions: list[Partition] = field(default_factory=list)

    def encoded(self) -> bytes:
        """As a part of a backup: JSON."""
        return json.dumps(vars(self), ensure_ascii=False, default=vars).encode("utf-8")

    @classmethod
    def decoded(cls, data: bytes) -> Definition:
        """What `encoded` made. Raises ValueError, KeyError or TypeError for anything else."""
        fields: dict[str, Any] = json.loads(data)
        fields["after"] = [After(**after) for after in fields["after"]]
        fields["partitions"] = [
            Partition(**{**each, "indexes": [PartitionIndex(**index) for index in each["indexes"]]})
            for each in fields["partitions"]
        ]
        return cls(**fields)

    def script(self) -> str:
        """The whole as one clone script without rows."""
        return ";\n".join([self.before, *[after.sql for after in self.after], ""])


@functools.lru_cache(maxsize=64)
def of_script(script: str, marker: str, fingerprint: str, source: str = "") -> Definition:
    """A compiled template's script, taken apart. `source` is for when the schema it describes has another one."""
    return _definition(split(script), marker, fingerprint, source or fingerprint)


def of_statements(
    statements: Iterable[Statement], marker: str, *, without: Iterable[str] = (), then: Sequence[str] = ()
) -> Definition:
    """A definition of a script's statements, except those that name an object of `without`, and of `then` at its end.
    Its fingerprints are the caller's to fill in."""
    gone = set(without)
    kept = [s for s in statements if not (gone and gone.intersection(_qualified(s.tokens, marker)))]
    definition = _definition(kept, marker, "", "")
    definition.after.extend(After(text, PROTECT) for text in then)
    return definition


def _definition(statements: Iterable[Statement], marker: str, fingerprint: str, source: str) -> Definition:
    settings: list[str] = []
    before: list[str] = []
    hypertables: list[str] = []
    after: list[After] = []
    matviews: list[str] = []
    for statement in statements:
        words = statement.keywords
        if not statement.tokens or _is_rows(words):
            continue
        if words[:3] == ("CREATE", "MATERIALIZED", "VIEW"):
            matviews.append(str(identifier(statement.tokens[5])))
        if words[:2] == ("SET", "LOCAL") and not before:
            settings.append(statement.text)
        elif _is_hypertable(statement):
            hypertables.append(statement.text)
        elif after or _begins_the_rest(words):
            after.append(_after(statement, marker))
        else:
            before.append(statement.text)
    begin = ";\n".join([*settings, ""])
    return Definition(
        marker, source, fingerprint, begin, begin + ";\n".join([*before, *hypertables]), after, matviews
    )  # fmt: skip


def _is_rows(words: Sequence[str]) -> bool:
    """Rows, positions of sequences and fillings of materialized views: a backup has its own."""
    return words[:1] == ("INSERT",) or words[:1] == ("REFRESH",) or words[:3] == ("SELECT", "PG_CATALOG", "SETVAL")


def _is_hypertable(statement: Statement) -> bool:
    names = {identifier(token) for token in statement.tokens[:6]}
    return statement.keywords[:1] == ("SELECT",) and bool(names & {"create_hypertable", "add_retention_policy"})


def _begins_the_rest(words: Sequence[str]) -> bool:
    """Whether pg_dump writes such a statement behind the rows only."""
    if words[:1] == ("CREATE",):
        rest = tuple(words[1:4])
        return (
            rest[:1] in {("INDEX",), ("TRIGGER",), ("RULE",), ("STATISTICS",), ("POLICY",)}
            or rest[:2] in {("UNIQUE", "INDEX"), ("CONSTRAINT", "TRIGGER")}
            or rest == ("OR", "REPLACE", "VIEW")
        )
    if words[:2] in {("ALTER", "TABLE"), ("ALTER", "DOMAIN")}:
        return _adds_constraint(words) or tuple(words[-3:]) == ("ROW", "LEVEL", "SECURITY")
    return words[:3] == ("ALTER", "INDEX") or words[:2] == ("REVOKE", "EXECUTE")


def _adds_constraint(words: Sequence[str]) -> bool:
    return ("ADD", "CONSTRAINT") in zip(words, words[1:], strict=False)


def _after(statement: Statement, marker: str) -> After:
    words, found = statement.keywords, statement.tokens
    text = statement.text
    if words[:2] == ("CREATE", "INDEX") or words[:3] == ("CREATE", "UNIQUE", "INDEX"):
        on = next(i for i, token in enumerate(found) if token.keyword == "ON")
        return After(text, INDEX, _qualified(found[on:], marker)[:1])
    if words[:2] == ("ALTER", "TABLE") and _adds_constraint(words):
        tables = _qualified(found, marker)
        if ("FOREIGN", "KEY") in zip(words, words[1:], strict=False):
            at = next(i for i, token in enumerate(found) if token.keyword == "REFERENCES")
            return After(text, FOREIGN, [*tables[:1], *_qualified(found[at:], marker)[:1]])
        kind = set(words) & {"PRIMARY", "UNIQUE", "EXCLUDE"}
        return After(text, INDEX if kind else OTHER, tables[:1])
    protects = tuple(words[-3:]) == ("ROW", "LEVEL", "SECURITY") or words[:3] == ("COMMENT", "ON", "POLICY")
    if protects or words[:2] in {("CREATE", "POLICY"), ("REVOKE", "EXECUTE")}:
        return After(text, PROTECT)
    return After(text, OTHER)


def _qualified(found: Sequence[Any], marker: str) -> list[str]:
    """The names behind `marker.`, in order."""
    return [
        str(identifier(after))
        for name, dot, after in zip(found, found[1:], found[2:], strict=False)
        if dot.text == "." and identifier(name) == marker
    ]
