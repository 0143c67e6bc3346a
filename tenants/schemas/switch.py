"""Putting one schema in the place of another: what a restore ends with, and what undoes it."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from tenants.exceptions import CloneMismatch, ClusterBusy
from tenants.identifiers import check_schema_name
from tenants.schemas import roles
from tenants.schemas.compiler.fingerprint import fingerprints
from tenants.schemas.ddl import QUERIES, exists

# With an empty search_path the server writes definitions with all names qualified.
_SETTINGS = "SET LOCAL lock_timeout = 5000; SET LOCAL search_path = ''; SET LOCAL check_function_bodies = off"


def switch(connection: Connection[Any], *, live: str, incoming: str, aside: str) -> None:
    """Let `incoming` become `live`, and what was `live` go on as `aside`, in one transaction or not at all.

    The tenant's logins keep names, passwords and limits, and reach the new schema. They must have been closed and
    their sessions ended: what a transaction still open wrote would stay in the old one. The same with
    `incoming=aside` undoes it. Nothing happens when it is done already. Raises ClusterBusy while a session is open, and
    CloneMismatch when a schema would not be what it was under its new name.
    """
    for name in (live, incoming, aside):
        check_schema_name(name)
    with connection.transaction():
        if not exists(connection, incoming) and exists(connection, aside) and exists(connection, live):
            return
        connection.execute(_SETTINGS)
        names = [*roles.all_logins(live), *roles.additional_logins(connection, live)]
        if roles.open_sessions(connection, names):
            raise ClusterBusy("Sessions of the tenant are still open.")
        before = fingerprints(connection, [live, incoming])
        connection.execute(QUERIES["switch_schemas"], [live, incoming, aside])
        _follow(connection, schema=aside, was=live)
        _follow(connection, schema=live, was=incoming)
        if fingerprints(connection, [live, aside]) != {live: before.get(incoming), aside: before.get(live)}:
            raise CloneMismatch(
                f"{live} would not be what it was after the exchange.",
                hint="Something in it holds the schema's name where that cannot follow, a trigger's argument maybe.",
            )


def _follow(connection: Connection[Any], *, schema: str, was: str) -> None:
    """Make routines again whose text holds the name that the schema had: text does not follow by itself."""
    made = connection.execute(QUERIES["routines_naming"], {"schema": schema, "name": was}).fetchall()
    if not made:
        return
    with roles.as_owner(connection, schema):
        for (definition,) in made:
            connection.execute(definition.replace(was, schema).encode())
