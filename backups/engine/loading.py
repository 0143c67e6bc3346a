"""Brings rows back: COPY of a table's parts, in order, on one session, or each part on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from psycopg import Connection, sql

from backups.engine.container import Part, read_part
from backups.engine.definition import Definition
from backups.engine.errors import Damaged, RestoreMismatch
from backups.engine.manifest import BINARY, Manifest, Table
from backups.engine.schedule import Task
from backups.engine.sessions import column_list
from backups.storage.base import Storage
from tenants.exceptions import Cancelled

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
HEADER = len(SIGNATURE) + 8
TRAILER = b"\xff\xff"


class Loader:
    """The rows of one backup on their way into a schema."""

    def __init__(self, storage: Storage, prefix: str, manifest: Manifest, definition: Definition, schema: str) -> None:
        self._storage, self._prefix, self._manifest, self._schema = storage, prefix, manifest, schema
        self._settings = definition.settings.replace(definition.marker, schema)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self.bytes = self.rows = 0
        self.stopped = False

    def tasks(self, tables: Sequence[Table], *, workers: int, ordered: bool) -> list[Task]:
        """The loads of these tables, largest first.

        A table comes in one transaction that also empties it, so that its rows need no freezing later; one that is more
        than a worker's share comes in as many as it has parts, unless its rows shall keep their order.
        """
        share = sum(table.raw for table in tables) / max(workers, 1)
        result: list[tuple[int, Task]] = []
        for table in tables:
            parts = [self._manifest.part(number) for number in table.parts]
            if not table.rows and table.raw <= len(parts) * (HEADER + len(TRAILER)):
                continue
            routed = table.target != table.name
            whole = ordered or len(parts) == 1 or workers == 1 or table.raw <= share
            for group in [parts] if whole else [[part] for part in parts]:
                # A partition of a tree that routes its rows anew makes the whole tree.
                makes = frozenset({table.name, table.target, *self._tree(tables, table.target)})
                run = self._run(table, group, freeze=whole and not routed)
                result.append((sum(part.raw for part in group), Task(run, makes=makes)))
        return [task for _, task in sorted(result, key=lambda item: -item[0])]

    @staticmethod
    def _tree(tables: Sequence[Table], target: str) -> set[str]:
        return {table.name for table in tables if table.target == target and table.name != target}

    def _run(self, table: Table, parts: list[Part], *, freeze: bool) -> Callable[[Connection[Any]], None]:
        def run(connection: Connection[Any]) -> None:
            count = self._load(connection, table, parts, freeze=freeze)
            with self._lock:
                self.rows += count
                self._counts[table.name] = self._counts.get(table.name, 0) + count

        return run

    def check(self, tables: Sequence[Table]) -> None:
        """Whether every table got as many rows as were taken. Raises RestoreMismatch."""
        for table in tables:
            count = self._counts.get(table.name, 0)
            if count != table.rows:
                raise RestoreMismatch(f"{table.name}: {count} rows came back where {table.rows} were taken.")

    def _load(self, connection: Connection[Any], table: Table, parts: list[Part], *, freeze: bool) -> int:
        name = sql.Identifier(self._schema, table.target)
        options = [sql.SQL("FORMAT {}").format(sql.SQL(table.format)), *([sql.SQL("FREEZE")] if freeze else [])]
        statement = sql.SQL("COPY {} {} FROM STDIN ({})").format(
            name, column_list(table.columns), sql.SQL(", ").join(options)
        )
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(self._settings.encode())
            if freeze:
                cursor.execute(sql.SQL("TRUNCATE ONLY {}").format(name))
            with cursor.copy(statement) as copy:
                for block in self._stream(table, parts):
                    copy.write(block)
            return cursor.rowcount

    def _stream(self, table: Table, parts: list[Part]) -> Iterator[bytes | memoryview]:
        key = self._manifest.opened()
        streams = [(part, read_part(self._storage, self._prefix, part, key)) for part in parts]
        for block in joined(streams, binary=table.format == BINARY):
            with self._lock:
                self.bytes += len(block)
            if self.stopped:
                raise Cancelled("The restore is being stopped.")
            yield block


def joined(streams: Sequence[tuple[Part, Iterator[bytes]]], *, binary: bool) -> Iterator[bytes | memoryview]:
    """Several COPY streams as one. Binary ones each have a header and an end, of which one may remain."""
    if not binary:
        for _, stream in streams:
            yield from stream
        return
    for number, (part, stream) in enumerate(streams):
        first, held = True, b""
        for block in stream:
            if first:
                if block[: len(SIGNATURE)] != SIGNATURE or len(block) < HEADER:
                    raise Damaged(part.file, f"part {part.number} is no binary COPY")
                view = memoryview(block)[HEADER if number else 0 :]
                first = False
            else:
                view = memoryview(block)
            # The end of what has come so far may be the stream's: two bytes are held back.
            if len(view) < len(TRAILER):
                view = memoryview(held + bytes(view))
            else:
                yield held
            held = bytes(view[-len(TRAILER) :])
            yield view[: -len(TRAILER)]
        if held != TRAILER:
            raise Damaged(part.file, f"part {part.number} is a binary COPY without its end")
    yield TRAILER
