"""The limit: what PostgreSQL itself needs for a clone, with nothing of ours around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from django.utils import timezone
from psycopg import Connection, sql

from provisioning import slots
from provisioning.models import TemplateVersion
from tenants.identifiers import OWNER, new_schema_name, role_name
from tenants.postgres import Dsn
from tenants.schemas import compiler, roles, timeseries


@dataclass(frozen=True)
class Prepared:
    """All that can be done before the clock starts: roles made, script rendered."""

    schema: str
    begin: sql.Composed
    script: bytes
    partitions: bytes


def open_connection(dsn: Dsn) -> Connection[Any]:
    """A plain connection in autocommit mode."""
    return psycopg.connect(dsn.conninfo(), autocommit=True, prepare_threshold=None)


def prepare(connection: Connection[Any], version: TemplateVersion) -> Prepared:
    """Make the roles of a new schema and render its script."""
    schema = new_schema_name()
    roles.create_roles(connection, schema, search_path=[schema])
    connection.execute(roles.QUERIES["take_owner"], [schema])
    owner = sql.Identifier(role_name(schema, OWNER))
    begin = sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}; SET LOCAL ROLE {}").format(sql.Identifier(schema), owner, owner)
    script = compiler.render(version.script, version.marker, schema).encode()
    return Prepared(
        schema, begin, script, timeseries.initial_partitions(schema, slots.time_series(version), timezone.now())
    )


def replay(connection: Connection[Any], prepared: Prepared) -> None:
    """One transaction: the schema, the script as its owner, and the first partitions."""
    with connection.transaction():
        connection.execute(prepared.begin)
        connection.execute(prepared.script)
        connection.execute(prepared.partitions)


def release(connection: Connection[Any], prepared: Prepared) -> None:
    """Give up what `prepare` took, off the clock: a login's memberships slow each later SET ROLE down."""
    connection.execute(roles.QUERIES["release_owner"], [prepared.schema])


def replay_parallel(dsn: Dsn, work: Sequence[Prepared], *, connections: int) -> tuple[list[float], float]:
    """Replay all of `work`, on so many connections at once. Returns the seconds of each, and from first to last.

    Threads suffice: all they do is wait for the server.
    """
    waiting, each, failures = list(work), list[float](), list[psycopg.Error]()

    def run(connection: Connection[Any]) -> None:
        with suppress(IndexError):  # nothing is left
            while True:
                prepared, begun = waiting.pop(), time.perf_counter()
                try:
                    replay(connection, prepared)
                except psycopg.Error as error:
                    failures.append(error)
                each.append(time.perf_counter() - begun)

    with ExitStack() as stack:
        opened = [stack.enter_context(closing(open_connection(dsn))) for _ in range(connections)]
        threads = [threading.Thread(target=run, args=[connection]) for connection in opened]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
    if failures:
        raise failures[0]
    return each, seconds
