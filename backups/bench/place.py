"""A database for the length of a benchmark, with the tenants in it; nothing of it stays."""

from __future__ import annotations

import dataclasses
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection as registry
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from backups.engine.definition import Definition, of_script
from backups.engine.keys import KeyRing
from tenants import schemas
from tenants.clusters import prepare_functions
from tenants.exceptions import ControlPlaneError
from tenants.identifiers import new_schema_name
from tenants.postgres import Dsn, connect
from tenants.schemas import roles
from tenants.schemas.compiler import CompiledTemplate, SqlDirectory, compile_template, render

PREFIX = "cpbench_backups_"


@dataclass
class Place:
    """Where is measured: as the control plane, as who reads for backups, and as a superuser (for pg_dump)."""

    dsn: Dsn
    reader: Dsn
    superuser: Dsn
    major: int
    directory: Path
    key: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(32))
    made: list[str] = field(default_factory=list)

    @property
    def keyring(self) -> KeyRing:
        """A key for this run."""
        return KeyRing({"bench": self.key})

    @contextmanager
    def admin(self) -> Iterator[Connection[Any]]:
        """A superuser's session without limits of time."""
        with psycopg.connect(self.superuser.conninfo(), autocommit=True) as connection:
            yield connection

    def roles(self) -> str:
        """A new schema's name; its roles are there."""
        schema = new_schema_name()
        self.made.append(schema)
        with connect(self.dsn, autocommit=True) as connection:
            roles.create_roles(connection, schema, search_path=[schema])
        return schema

    def tenant(self, template: CompiledTemplate) -> str:
        """A tenant's schema, as provisioning makes it."""
        schema = self.roles()
        with connect(self.dsn, autocommit=True, statement_timeout_ms=0) as connection:
            script = render(template.script, template.marker, schema)
            schemas.clone(connection, schema, script, prove=lambda _: None, timeout_ms=600_000)
        return schema

    def drop(self, schema: str) -> None:
        """Take a schema and its roles away."""
        with connect(self.dsn, autocommit=True, statement_timeout_ms=0) as connection:
            schemas.drop(connection, schema)
            roles.drop_roles(connection, schema)
        self.made.remove(schema)

    def compiled(self, path: Path) -> tuple[CompiledTemplate, Definition]:
        """A template's directory, compiled, and what it says of its clones."""
        template = compile_template(SqlDirectory(path), dsn=self.dsn)
        return template, of_script(template.script, template.marker, template.fingerprint)


def _superuser() -> Dsn:
    url = os.environ.get("SUPERUSER_DATABASE_URL")
    if not url:
        raise ControlPlaneError(
            "SUPERUSER_DATABASE_URL is not set: the login that reads for backups needs BYPASSRLS.",
            code="superuser_missing", hint="Use `make bench-backups`.",
        )  # fmt: skip
    given = conninfo_to_dict(url)
    return Dsn(
        str(given["host"]), int(str(given.get("port", 5432))), str(given["dbname"]), str(given["user"]),
        str(given.get("password", "")),
    )  # fmt: skip


def _own() -> Dsn:
    own = registry.settings_dict
    return Dsn(own["HOST"] or "localhost", int(own["PORT"] or 5432), own["NAME"], own["USER"], own["PASSWORD"] or "")


@contextmanager
def opened() -> Iterator[Place]:
    """A database beside the control plane's own, a login with BYPASSRLS, a directory for backups."""
    own, above, name = _own(), _superuser(), PREFIX + secrets.token_hex(6)
    reader = own.replace(dbname=name, user=f"{name}_reader", password=secrets.token_hex(16))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory, connect(above, autocommit=True) as admin:
        admin.execute("SET statement_timeout = 0")
        place = Place(
            own.replace(dbname=name), reader, above.replace(dbname=name), admin.info.server_version // 10_000,
            Path(directory),
        )  # fmt: skip
        group: list[str] = []
        try:
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(own.user)))
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS PASSWORD {} IN ROLE pg_read_all_data").format(
                    sql.Identifier(reader.user), sql.Literal(reader.password)
                )
            )
            prepare_functions(place.superuser, owner=own.user)
            with connect(place.superuser) as there:
                row = there.execute("SELECT cp.tenants_group(current_database())").fetchone()
            group.append(str(row[0]) if row else "")
            yield place
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(reader.user)))
            for schema in place.made:
                names = sql.SQL(", ").join(map(sql.Identifier, roles.all_roles(schema)))
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(names))
            for role in group:  # the database's own, which its tenants' logins were members of
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def as_json(dsn: Dsn) -> dict[str, Any]:
    """For a process of its own; its password comes by a pipe."""
    return dataclasses.asdict(dsn)
