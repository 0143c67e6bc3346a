"""The proof from the catalog: what lets any tenant of a database reach beyond its own schema, in two queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from tenants.hardening.levels import Level, open_items, up_to
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("proof.sql"))


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: the schema it is about (empty: the whole database), and what."""

    schema: str
    what: str


def findings(connection: Connection[Any], *, level: str) -> list[Finding]:
    """All that is wrong on a database that was prepared for `level`; empty when every tenant is held in its schema.

    The number of queries is the same for any number of tenants. `connection` is the control plane's own login.
    """
    found = [Finding(schema or "", what) for schema, what in connection.execute(QUERIES["findings"]).fetchall()]
    wanted = up_to(Level(level))
    found += [
        Finding("", f"{item.kind} {item.name} is open to every login")
        for item in open_items(connection)
        if item.level in wanted
    ]
    return found
