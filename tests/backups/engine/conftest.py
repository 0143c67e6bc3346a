"""Servers with a login for backups, and tenants' schemas on them made as the product makes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backups.engine.definition import Definition, of_script
from backups.engine.keys import KeyRing
from backups.engine.sessions import close_kept
from backups.storage.local import LocalStorage
from tenants import schemas
from tenants.clusters import prepare_functions
from tenants.identifiers import new_schema_name
from tenants.postgres import Dsn
from tenants.schemas import roles
from tenants.schemas.compiler import CompiledTemplate, fingerprints, render
from tenants.schemas.timeseries import initial_partitions
from tests.compiler.conftest import newest as newest
from tests.compiler.conftest import oldest as oldest
from tests.compiler.support import Server


@dataclass
class Place:
    """A server with the control plane's functions, and the login that reads for backups."""

    server: Server
    reader: Dsn
    schemas: list[str]

    def connect(self) -> psycopg.Connection:
        return self.server.connect(superuser=True)

    def roles(self) -> str:
        """A new schema's name, its roles made."""
        schema = new_schema_name()
        self.schemas.append(schema)
        with psycopg.connect(self.server.dsn.conninfo(), autocommit=True) as connection:
            roles.create_roles(connection, schema, search_path=[schema])
        return schema

    def tenant(self, template: CompiledTemplate) -> str:
        """A tenant's schema, as provisioning makes one."""
        schema = self.roles()
        script = render(template.script, template.marker, schema)
        then = initial_partitions(schema, template.timeseries, datetime.now(UTC))
        with psycopg.connect(self.server.dsn.conninfo(), autocommit=True) as connection:
            schemas.clone(connection, schema, script, then=then, prove=lambda _: None, timeout_ms=120_000)
        return schema

    def definition(self, template: CompiledTemplate, schema: str) -> Definition:
        """The definition of a schema that still is its template's."""
        return of_script(template.script, template.marker, template.fingerprint, self.fingerprint(schema))

    def fingerprint(self, schema: str) -> str:
        with self.connect() as connection:
            return fingerprints(connection, [schema])[schema]


def _place(server: Server) -> Iterator[Place]:
    prepare_functions(server.superuser, owner=server.dsn.user)
    reader = server.dsn.replace(user=f"cp_test_reader_{secrets.token_hex(5)}", password=secrets.token_hex(16))
    name = sql.Identifier(reader.user)
    with server.connect(superuser=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS PASSWORD {} IN ROLE pg_read_all_data").format(
                name, sql.Literal(reader.password)
            )
        )
        admin.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))
    place = Place(server, reader, [])
    yield place
    close_kept()
    with psycopg.connect(server.dsn.conninfo(), autocommit=True) as connection:
        for schema in place.schemas:
            schemas.drop(connection, schema)
            roles.drop_roles(connection, schema)
    with server.connect(superuser=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {n}; DROP ROLE {n}").format(n=name))


@pytest.fixture(scope="module")
def new_place(newest: Server) -> Iterator[Place]:
    """The newest PostgreSQL."""
    yield from _place(newest)


@pytest.fixture(scope="module")
def old_place(oldest: Server) -> Iterator[Place]:
    """PostgreSQL 15."""
    yield from _place(oldest)


@pytest.fixture(params=["new_place", "old_place"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the two in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """A directory for backups."""
    return LocalStorage(tmp_path / "backups")


@pytest.fixture
def keyring() -> KeyRing:
    """One key."""
    return KeyRing({"test": secrets.token_bytes(32)})


@pytest.fixture
def new_prefix() -> Callable[[], str]:
    """Prefixes of backups."""
    import uuid

    return lambda: f"tenant/{uuid.uuid4()}"
