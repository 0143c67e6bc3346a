"""What a superuser prepares once on a cluster so that the control plane can work without being one."""

from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg
from psycopg import sql

ROLE = "controlplane"  # the control plane's login
GROUP = "cp_tenants"  # holds what all tenants share
DATABASE = "controlplane"
EXTENSIONS = "extensions"  # schema of shared extensions
STATEMENTS = Path(__file__).with_name("bootstrap.sql")
# The functions by which the login acts on tenants' roles. Owned by a superuser, they spare it any right of its own.
FUNCTIONS = Path(__file__).resolve().parents[2] / "tenants" / "prepare.sql"
# What PgBouncer's login may ask; run after the functions.
POOLER = FUNCTIONS.parent / "pooling" / "pooler.sql"
POOLER_ROLE = "cp_pooler"


def _exists(connection: psycopg.Connection, query: str, name: str) -> bool:
    return connection.execute(query, [name]).fetchone() is not None


def _statements(section: str) -> Iterable[str]:
    """The statements under `-- section: <name>` of bootstrap.sql (none of them holds a semicolon inside)."""
    text = STATEMENTS.read_text(encoding="utf-8").split(f"-- section: {section}\n", 1)[1]
    text = text.split("-- section: ", 1)[0]
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def prepare_cluster(connect: Callable[[str], psycopg.Connection], *, role_password: str, pooler_password: str) -> None:
    """Create roles, database, group and shared schema; idempotent. `connect` opens a database as superuser.

    The passwords are set, as SCRAM verifiers, each time: the files that keep them are what counts.
    """
    with connect("postgres") as connection:
        _prepare_roles(connection, role_password)
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
            )
        for statement in _statements("cluster"):
            connection.execute(statement)
    for database, sections in {DATABASE: ("database", "functions"), "template1": ("template1", "functions")}.items():
        with connect(database) as connection:
            connection.execute(FUNCTIONS.read_bytes())
            for section in sections:
                for statement in _statements(section):
                    connection.execute(statement)
            connection.execute(POOLER.read_bytes())
            _set_password(connection, POOLER_ROLE, pooler_password)


def _prepare_roles(connection: psycopg.Connection, password: str) -> None:
    query = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    for name in (ROLE, GROUP):
        if not _exists(connection, query, name):
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    _set_password(connection, ROLE, password)
    for statement in _statements("roles"):
        connection.execute(statement)


def _set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
