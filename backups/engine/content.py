"""Compares the rows of a schema with those in a backup, by what COPY writes of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import psycopg
from psycopg import Connection, sql

from backups.engine.container import Part, read_part
from backups.engine.copying import BIG_BYTES
from backups.engine.errors import RestoreMismatch
from backups.engine.keys import KeyRing
from backups.engine.loading import joined
from backups.engine.manifest import BINARY, Manifest, Table, read_manifest
from backups.engine.sessions import SETTINGS, Psql, column_list, kept
from backups.storage.base import Storage
from tenants.postgres import Dsn, translate

OPEN_PART = Part(0, "", 0, 0, 0, "", "")


def compare_content(
    *,
    dsn: Dsn,
    schema: str,
    storage: Storage,
    prefix: str,
    keyring: KeyRing,
    on_alive: Callable[[], None] | None = None,
) -> Manifest:
    """Prove that every table of `schema` holds exactly the rows of a backup, byte for byte and in their order.

    `dsn` is a login that reads all rows. The schema must come from `restore(ordered=True)` or from a backup without
    split tables, and must not have been written since. Tables whose rows were routed to other partitions are counted.
    Raises RestoreMismatch naming the table, Damaged.
    """
    manifest = read_manifest(storage, prefix, keyring)
    with kept(dsn) as connection:
        try:
            for table in manifest.tables:
                if on_alive:
                    on_alive()
                if table.target == table.name:
                    _compare(connection, dsn, schema, storage, prefix, manifest, table)
            _count_routed(connection, schema, manifest)
        except psycopg.Error as error:
            raise translate(error) from error
    return manifest


def _compare(
    connection: Connection[object],
    dsn: Dsn,
    schema: str,
    storage: Storage,
    prefix: str,
    manifest: Manifest,
    table: Table,
) -> None:
    parts = [manifest.part(number) for number in table.parts]
    if not parts:
        name = sql.Identifier(schema, table.name)
        row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(name)).fetchone()
        if row != (False,):
            raise RestoreMismatch(f"{table.name} of {schema} holds rows where the backup has none.")
        return
    key = manifest.opened()
    taken = _digest([(part, read_part(storage, prefix, part, key)) for part in parts], table)
    found = _digest([(OPEN_PART, _exported(connection, dsn, schema, table))], table)
    if taken != found:
        raise RestoreMismatch(f"{table.name} of {schema} does not hold the rows of the backup.")


def _digest(streams: list[tuple[Part, Iterator[bytes]]], table: Table) -> str:
    digest = hashlib.sha256()
    for block in joined(streams, binary=table.format == BINARY):
        digest.update(block)
    return digest.hexdigest()


def _exported(connection: Connection[object], dsn: Dsn, schema: str, table: Table) -> Iterator[bytes]:
    """What COPY writes of a table now."""
    statement = sql.SQL("COPY {} {} TO STDOUT (FORMAT {})").format(
        sql.Identifier(schema, table.name), column_list(table.columns), sql.SQL(table.format)
    )
    if table.raw < BIG_BYTES:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            yield b"".join(bytes(row) for row in copy)
        return
    major = connection.info.server_version // 10_000
    with Psql(dsn, major, [SETTINGS], statement.as_string(connection)) as psql:
        yield from psql.blocks()
        psql.rows()


def _count_routed(connection: Connection[object], schema: str, manifest: Manifest) -> None:
    """Partitions by hash: their rows may be spread otherwise than they were, but are as many."""
    wanted: dict[str, int] = {}
    for table in manifest.tables:
        if table.target != table.name:
            wanted[table.target] = wanted.get(table.target, 0) + table.rows
    for name, rows in wanted.items():
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))).fetchone()
        if row != (rows,):
            raise RestoreMismatch(f"{name} of {schema} does not hold the rows of the backup.")
