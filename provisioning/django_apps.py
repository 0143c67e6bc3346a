"""Templates from Django apps: TENANT_APPS migrated into a schema that exists for as long as it is read."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection as django_connection
from psycopg import sql

from tenants.exceptions import TemplateRefused
from tenants.models import Cluster
from tenants.postgres import connect
from tenants.schemas import compiler

PREFIX = "cpdjango_"
# A session lock on its name says that a schema is in use; what nobody locks was left by a process that died.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
OURS = "SELECT nspname FROM pg_catalog.pg_namespace WHERE starts_with(nspname, %s) ORDER BY nspname"
DROP_TIMEOUT_MS = 600_000
APPLIED = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DjangoApps(compiler.LiveSchema):
    """The temporary schema of these apps."""

    apps: tuple[str, ...] = ()


@contextmanager
def migrated_schema() -> Iterator[DjangoApps]:
    """A schema in the control plane's own database that holds TENANT_APPS, for the length of the block.

    It is dropped whatever happens; so is what earlier runs left when they were killed. Raises TemplateRefused when
    the migrations fail, ClusterError when the schema cannot be made.
    """
    name = PREFIX + secrets.token_hex(10)
    dsn = Cluster.objects.get(is_default=True).dsn()
    options: dict[str, Any] = {"application_name": "controlplane import", "statement_timeout_ms": DROP_TIMEOUT_MS}
    with connect(dsn, autocommit=True, **options) as connection:
        drop_leftovers(connection)
        connection.execute(TRY_LOCK, [name])
        try:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
            _migrate(name)
            _forget_when(connection, name)
            yield DjangoApps(name, tuple(settings.TENANT_APPS))
        finally:
            _drop(connection, name)


def drop_leftovers(connection: psycopg.Connection[Any]) -> list[str]:
    """Drop the schemas of processes that died; returns their names. `connection` is in autocommit mode."""
    dropped = []
    for (name,) in connection.execute(OURS, [PREFIX]).fetchall():
        if connection.execute(TRY_LOCK, [name]).fetchone() == (True,):
            _drop(connection, name)
            dropped.append(name)
    return dropped


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
    connection.execute(UNLOCK, [name])


def _migrate(schema: str) -> None:
    """What `manage.py migrate_schemas --tenant --schema …` does, without its chatter."""
    chatter = io.StringIO()
    try:
        # django-tenants prints to sys.stdout itself, where only our own result may go.
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            call_command(
                "migrate_schemas", tenant=True, schema_name=schema, executor="standard", interactive=False, verbosity=1
            )
    except (DatabaseError, CommandError, RuntimeError) as error:
        raise TemplateRefused(
            reason=f"the migrations of TENANT_APPS failed: {str(error).strip().splitlines()[0]}",
            statement=_last_migration(chatter.getvalue()),
            hint="Mend the migration; nothing was kept.",
        ) from error
    finally:
        # The connection may have been left looking into the schema that is about to go. It is told at once and not by
        # the next query, whose transaction might be rolled back, and this with it.
        django_connection.set_schema_to_public()  # type: ignore[attr-defined]
        with django_connection.cursor():
            pass


def _forget_when(connection: psycopg.Connection[Any], schema: str) -> None:
    """Note a fixed time for all migrations: the same apps must make the same template whenever they are imported."""
    table = sql.Identifier(schema, "django_migrations")
    connection.execute(sql.SQL("UPDATE {} SET applied = %s").format(table), [APPLIED])


def _last_migration(chatter: str) -> str | None:
    lines = [line.partition("Applying ")[2] for line in chatter.splitlines() if "Applying " in line]
    return f"migration {lines[-1].removesuffix('...').strip()}" if lines else None
