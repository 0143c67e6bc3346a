"""A control plane's database for each test process, copied from one that was migrated once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.support.environment import DATABASE, PREFIX, TEMPLATE

PROJECT = Path(__file__).resolve().parents[2]

# Roles belong to the whole cluster: those of this database are known by its schemas and by its registry.
TENANT_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\_%'"
REGISTERED = """
SELECT schema_name FROM tenants_tenant UNION SELECT schema_name FROM provisioning_schemaslot
"""
TENANT_SCHEMA = re.compile(r"t_[a-z2-7]{20}")


def maintenance_url() -> str:
    """The database that `DATABASE_URL` named before each process got its own."""
    return os.environ["CP_TEST_MAINTENANCE_URL"]


@contextmanager
def maintenance() -> Iterator[psycopg.Connection[Any]]:
    """A connection from which databases are made and dropped."""
    with psycopg.connect(maintenance_url(), autocommit=True) as connection:
        yield connection


def create_database() -> None:
    """This process's database; whoever comes first also migrates the template that all copy."""
    with maintenance() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [zlib.crc32(TEMPLATE.encode())])
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            _build_template(connection)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(DATABASE), sql.Identifier(TEMPLATE))
        )


def _build_template(connection: psycopg.Connection[Any]) -> None:
    building = f"{PREFIX}_building"
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(building)))
    url = os.environ["DATABASE_URL"].replace(f"/{DATABASE}", f"/{building}")
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=PROJECT, env={**os.environ, "DATABASE_URL": url}, check=True)
    # Renamed last: a template that exists is complete.
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building), sql.Identifier(TEMPLATE))
    )


def drop_database(name: str = DATABASE) -> None:
    """Drop a test process's database, with the roles and the own databases of the tenants registered in it."""
    left = sorted(schema for schema in _tenant_schemas(name) if TENANT_SCHEMA.fullmatch(schema))
    with maintenance() as connection:
        own = "SELECT datname FROM pg_database WHERE datname = ANY(%s)"  # of tenants that a failed test did not drop
        for each in [name, *(row[0] for row in connection.execute(own, [left]).fetchall())]:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(each)))
        for start in range(0, len(left), 50):
            connection.execute("SELECT cp.drop_roles(s) FROM unnest(%s::text[]) AS s", [left[start : start + 50]])


def _tenant_schemas(name: str) -> set[str]:
    url = os.environ["DATABASE_URL"].replace(f"/{DATABASE}", f"/{name}")
    try:
        with psycopg.connect(url) as connection:
            found = {row[0] for row in connection.execute(TENANT_SCHEMAS).fetchall()}
            return found | {row[0] for row in connection.execute(REGISTERED).fetchall()}
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return set()


def drop_all() -> None:
    """Everything of this run that is still there: the template, and databases of workers that crashed."""
    with maintenance() as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX]).fetchall()
    for (name,) in rows:
        drop_database(name)
