"""The proof from the catalog: what lets any tenant of a database reach beyond its own schema.

The same few queries for two tenants and for a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from tenants.hardening.levels import Level, open_items, up_to
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("proof.sql"))
PROOFS = ("roles", "grants", "row_security", "defaults", "shared", "verifiers")
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """Something that breaks a rule. `schema` is where it is (empty: the whole database), `offender` whose logins reach
    too far by it; `severity` is `critical` when somebody can reach what is not theirs, else `warning`."""

    code: str
    severity: str
    schema: str
    offender: str
    subject: str
    detail: str

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What makes it the same finding the next time."""
        return self.schema, self.offender, self.code, self.subject[:200], self.detail[:300]

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.code}: {self.subject} {self.detail}".strip()


@dataclass(frozen=True)
class Proof:
    """What the catalog shows: the schemas it was read for, what is wrong, and what could not be read."""

    schemas: list[str]
    findings: list[Finding]
    unverified: list[str]


def prove(connection: Connection[Any], *, level: str) -> Proof:
    """Read the catalog, all of it at one moment, of a database that was prepared for `level`.

    `connection` is the control plane's own login or its monitor's; what it may not read is told in `unverified`.
    """
    found: list[Finding] = []
    unverified: list[str] = []
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        schemas = [row[0] for row in connection.execute(QUERIES["schemas"])]
        for name in PROOFS:
            try:
                with connection.transaction():
                    rows = connection.execute(QUERIES[name], {}).fetchall()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction) as error:
                unverified.append(f"{name}: {error.diag.message_primary}")
                continue
            if any(row[0] == UNREADABLE for row in rows):
                unverified.append(f"{name}: only a superuser's functions may read passwords' hashes")
            found += [Finding(*row) for row in rows if row[0] != UNREADABLE]
        found += [
            Finding("level", "critical", "", "", f"{item.kind} {item.name}", "is open to every login")
            for item in open_items(connection)
            if item.level in up_to(Level(level))
        ]
    return Proof(schemas, found, unverified)


def findings(connection: Connection[Any], *, level: str) -> list[Finding]:
    """All that is wrong, or could not be read; empty when every tenant is held in its schema."""
    proof = prove(connection, level=level)
    return [*proof.findings, *(Finding("unverified", "warning", "", "", text, "") for text in proof.unverified)]
