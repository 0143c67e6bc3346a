"""What monitoring needs besides its login: the server's statistics of statements, within reach of our logins alone."""

from __future__ import annotations

from psycopg import sql

from tenants.hardening.levels import QUERIES
from tenants.hardening.recorder import Recorder


def ensure_statements(to: Recorder) -> list[str]:
    """Have statements counted where the server can, and our logins read it. What it lacks for that, as advice.

    To be done before anything is closed: what an extension brings is open to everybody.
    """
    loaded, has_schema = to.connection.execute(QUERIES["statements_loaded"]).fetchone() or (False, False)
    if loaded and has_schema and to.superuser and not _found(to):
        to.run("CREATE EXTENSION pg_stat_statements SCHEMA extensions")
    found = _found(to)
    if found and not found[1]:
        to.run(sql.SQL("GRANT USAGE ON SCHEMA {} TO cp_operator").format(sql.Identifier(found[0])))
    if not loaded:
        return [
            "Statements are not counted: pg_stat_statements is not in shared_preload_libraries (needs a restart), "
            "then prepare it again."
        ]
    return [] if found else ["Statements are not counted: CREATE EXTENSION pg_stat_statements SCHEMA extensions."]


def _found(to: Recorder) -> tuple[str, bool] | None:
    """Where the extension is, and whether our logins get at it."""
    return to.connection.execute(QUERIES["statements_schema"]).fetchone()
