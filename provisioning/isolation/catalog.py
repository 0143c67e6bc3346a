"""What a cluster's catalog shows of all tenants at once: the same few queries for two tenants and for a thousand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from tenants.models import Cluster
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
PROOFS = ("roles", "grants", "row_security", "defaults", "shared", "verifiers")
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """Something that breaks a rule. `schema` is where it is, `offender` whose logins reach too far by it."""

    code: str
    severity: str
    schema: str
    offender: str
    subject: str
    detail: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same finding the next time."""
        return self.schema, self.offender, self.code, self.subject[:200]


@dataclass(frozen=True)
class Proof:
    """What the catalog shows: the schemas it was read for, what is wrong, and what could not be read."""

    schemas: list[str]
    findings: list[Finding]
    unverified: list[str]


def prove(connection: Connection[Any], cluster: Cluster) -> Proof:
    """Read the catalog, all of it at one moment. `connection` has no transaction open."""
    own = [cluster.dsn().user, *cluster.logins.values_list("username", flat=True)]
    findings: list[Finding] = []
    unverified: list[str] = []
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        schemas = [row[0] for row in connection.execute(QUERIES["schemas"])]
        for name in PROOFS:
            try:
                with connection.transaction():
                    rows = connection.execute(QUERIES[name], {"own": own}).fetchall()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction) as error:
                unverified.append(f"{name}: {error.diag.message_primary}")
                continue
            if any(row[0] == UNREADABLE for row in rows):
                unverified.append(f"{name}: only a superuser's functions may read passwords' hashes")
            findings += [Finding(*row) for row in rows if row[0] != UNREADABLE]
    return Proof(schemas, findings, unverified)
