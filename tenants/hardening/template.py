"""The database that tenants' own databases are copies of: what a superuser installs once comes with each of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from tenants.models import Cluster
from tenants.postgres import Dsn, connect, load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries.sql")
TIMEOUT_MS = 120_000


def name_of(host: Cluster) -> str:
    """What the template of the databases on a cluster's server is called."""
    return f"cp_template_{hashlib.sha256(host.dsn().dbname.encode()).hexdigest()[:8]}"


def ensure(host: Cluster, superuser: Dsn) -> None:
    """Make the template unless it is there, with the host's locale, schema for extensions, and extensions."""
    name = name_of(host)
    with connect(superuser, autocommit=True, statement_timeout_ms=TIMEOUT_MS) as connection:
        if connection.execute(QUERIES["database_exists"], [name]).fetchone() != (True,):
            row = connection.execute(QUERIES["locale_clause"]).fetchone()
            clause = sql.SQL(row[0] if row else "")
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 IS_TEMPLATE true {}").format(
                    sql.Identifier(name), clause
                )
            )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        extensions = connection.execute(QUERIES["list_extensions"]).fetchall()
    with connect(superuser.replace(dbname=name), statement_timeout_ms=TIMEOUT_MS) as connection:
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        _make_schema(connection, host.dsn().user)
        for extension, _, schema in extensions:
            if schema in ("extensions", "pg_catalog", "public"):
                connection.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
                        sql.Identifier(extension), sql.Identifier(schema)
                    )
                )


def _make_schema(connection: Connection[Any], owner: str) -> None:
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS extensions AUTHORIZATION {}").format(sql.Identifier(owner)))
    connection.execute("GRANT USAGE ON SCHEMA extensions TO cp_tenants")


def drop(connection: Connection[Any], host: Cluster) -> None:
    """Take the template away, by a superuser's session in autocommit mode in another database."""
    name = name_of(host)
    if connection.execute(QUERIES["database_exists"], [name]).fetchone() == (True,):
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
