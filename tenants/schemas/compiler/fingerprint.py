"""What a schema is, in one number: a hash over its normalised catalog rows.

Its own name and its roles' names are replaced by placeholders, so that all clones of a template have the same. The
partitions of declared time-series tables are left out, since they change daily.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tenants.schemas.compiler.scratch import QUERIES
from tenants.schemas.timeseries import MARK

_ROWS = QUERIES["catalog_rows"]
_HASHES = QUERIES["fingerprints"].replace("/* catalog_rows */", _ROWS)


# With an empty search_path definitions come out qualified, whatever the session's is. Planning these statements costs
# as much as running them: as prepared statements with one generic plan they are planned once a session.
_SETTINGS = {"search_path": "", "jit": "off", "plan_cache_mode": "force_generic_plan", "enable_nestloop": "off"}


@contextmanager
def _pinned(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """With the settings the statements need, for this transaction; the caller's are put back, it may be theirs."""
    names = list(_SETTINGS)
    with conn.transaction():
        row = conn.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names)).fetchone()
        _set(conn, _SETTINGS)
        yield
        _set(conn, dict(zip(names, row or (), strict=False)))


def _set(conn: psycopg.Connection[Any], settings: Mapping[str, str | None]) -> None:
    calls = sql.SQL(", ").join(sql.SQL("set_config({}, {}, true)").format(k, v) for k, v in settings.items())
    conn.execute(sql.SQL("SELECT {}").format(calls))


def fingerprints(conn: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    """The fingerprint (hexadecimal SHA-256) of each schema that exists; the same few queries for any number of them.

    The server sorts all their rows at once: about a hundred schemas of some sixty tables at a time serve it well.
    """
    with _pinned(conn):
        return dict(conn.execute(_HASHES, {"schemas": list(schemas), "mark": MARK}, prepare=True).fetchall())


def ask_fingerprints(conn: psycopg.Connection[Any], schemas: Sequence[str]) -> psycopg.Cursor[Any]:
    """As `fingerprints`, for a pipeline within a transaction on a session whose search_path is empty anyway: name and
    fingerprint of each are fetched later."""
    _set(conn, _SETTINGS)
    found = conn.execute(_HASHES, {"schemas": list(schemas), "mark": MARK}, prepare=True)
    _set(conn, {name: None for name in _SETTINGS if name != "search_path"})  # as the session has them
    return found


def catalog_rows(conn: psycopg.Connection[Any], schema: str) -> list[tuple[str, str, str]]:
    """What the fingerprint is a hash of: (kind, name, definition) in order, to explain how two schemas differ."""
    with _pinned(conn):
        rows = conn.execute(_ROWS, {"schemas": [schema], "mark": MARK}).fetchall()
    return sorted((str(kind), str(name), str(definition)) for _, kind, name, definition in rows)
