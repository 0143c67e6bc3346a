"""The actions that occur in the log."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


def known_actions() -> list[str]:
    """All of them, sorted."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["actions"])
        return [row[0] for row in cursor.fetchall()]
