"""What a schema is, in one number: a hash over its normalised catalog rows.

Its own name and its roles' names are replaced by placeholders, so that all clones of a template have the same. The
partitions of declared time-series tables are left out, since they change daily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from provisioning.compiler.scratch import QUERIES
from provisioning.timeseries import MARK

_ROWS = QUERIES["catalog_rows"]
_HASHES = QUERIES["fingerprints"].replace("/* catalog_rows */", _ROWS)


@contextmanager
def _pinned(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """With an empty search_path, so that definitions come out qualified, whatever the session's is."""
    with conn.transaction():
        row = conn.execute(
            "SELECT current_setting('search_path'), current_setting('jit'),"
            " set_config('search_path', '', true), set_config('jit', 'off', true)"
        ).fetchone()
        yield
        if row is not None:  # the caller's transaction may go on
            conn.execute("SELECT set_config('search_path', %s, true), set_config('jit', %s, true)", row[:2])


def fingerprints(conn: psycopg.Connection[Any], schemas: Sequence[str]) -> dict[str, str]:
    """The fingerprint (hexadecimal SHA-256) of each schema that exists; the same few queries for any number of them."""
    with _pinned(conn):
        return dict(conn.execute(_HASHES, {"schemas": list(schemas), "mark": MARK}).fetchall())


def catalog_rows(conn: psycopg.Connection[Any], schema: str) -> list[tuple[str, str, str]]:
    """What the fingerprint is a hash of: (kind, name, definition) in order, to explain how two schemas differ."""
    with _pinned(conn):
        rows = conn.execute(_ROWS, {"schemas": [schema], "mark": MARK}).fetchall()
    return sorted((str(kind), str(name), str(definition)) for _, kind, name, definition in rows)
