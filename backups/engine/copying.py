"""Copies rows into the files of a backup: small tables on a session of ours, big ones through psql, several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from backups.engine.batch import copy_together
from backups.engine.catalog import QUERIES, Rows
from backups.engine.container import BLOCK, FileWriter, Part, PartWriter, file_name
from backups.engine.keys import DataKey
from backups.engine.sessions import SETTINGS, Psql, column_list, opened
from backups.storage.base import Storage, Writer
from tenants.exceptions import Cancelled
from tenants.postgres import Dsn

CHUNK_BYTES = 64 * 1024 * 1024
BIG_BYTES = 4 * 1024 * 1024  # from here on a process of psql costs less than Python does for each row
LOOK_SECONDS = 0.5
# Called with (bytes copied, bytes expected, rows copied); raising stops the backup, which then leaves nothing.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Piece:
    """Rows to copy as one part: a table, or a range of its pages."""

    rows: Rows
    size: int
    pages: tuple[int, int | None] | None = None


def pieces(tables: list[Rows], chunk: int = CHUNK_BYTES) -> list[Piece]:
    """What is copied as one part each, largest first: big tables by ranges of pages."""
    result = []
    for rows in tables:
        if not rows.bytes and not rows.whole:  # no page at all: there is nothing that a snapshot could see
            continue
        count = min(-(-rows.bytes // chunk), max(rows.pages, 1)) if rows.pages and not rows.whole else 1
        if count <= 1:
            result.append(Piece(rows, rows.bytes))
            continue
        step = -(-rows.pages // count)
        starts = range(0, rows.pages, step)
        # The last one is open: pages added since then hold no rows of the snapshot that are not elsewhere, too.
        ends = [*list(starts)[1:], None]
        result += [
            Piece(rows, rows.bytes // len(starts), (start, end)) for start, end in zip(starts, ends, strict=True)
        ]
    return sorted(result, key=lambda piece: piece.size, reverse=True)


class Job:
    """What all threads of one backup share."""

    def __init__(
        self,
        dsn: Dsn,
        schema: str,
        storage: Storage,
        prefix: str,
        key: DataKey,
        level: int,
        on_progress: Progress | None,
        on_alive: Callable[[], None] | None,
    ) -> None:
        self.dsn, self.schema, self.storage, self.prefix, self.key, self.level = (
            dsn,
            schema,
            storage,
            prefix,
            key,
            level,
        )
        self._on_progress, self._on_alive = on_progress, on_alive
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._bytes = self._rows = self._expected = self._parts = 0
        self._told = time.monotonic()

    def expect(self, total: int) -> None:
        """How many bytes the tables have."""
        self._expected = total

    def next_part(self) -> int:
        """A number for a part, used once."""
        with self._lock:
            self._parts += 1
            return self._parts

    def advance(self, count: int, rows: int = 0) -> None:
        """Some more was copied. Raises Cancelled when the others have failed."""
        with self._lock:
            self._bytes += count
            self._rows += rows
        if self.stop.is_set():
            raise Cancelled("The backup is being stopped.")

    def tell(self) -> None:
        """From the thread that called: that we live, and how far we are; at most twice a second."""
        if time.monotonic() - self._told < LOOK_SECONDS:
            return
        self._told = time.monotonic()
        if self._on_alive:
            self._on_alive()
        if self._on_progress:
            self._on_progress(self._bytes, max(self._expected, self._bytes), self._rows)


class Files:
    """The data files of one backup: one for each thread; all are committed, or none."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open: list[tuple[Writer, FileWriter]] = []
        self._lock = threading.Lock()
        self._mine = threading.local()
        self.parts: list[Part] = []

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for writer, _ in self._open:
            writer.__exit__(kind, error, trace)

    @property
    def names(self) -> list[str]:
        """The files, in the order of their numbers."""
        return [file.name for _, file in self._open]

    def part(self) -> PartWriter:
        """A new part in this thread's file."""
        file: FileWriter | None = getattr(self._mine, "file", None)
        if file is None:
            with self._lock:
                number = len(self._open) + 1
                writer = self._job.storage.writer(f"{self._job.prefix}/{file_name(number)}").__enter__()
                file = FileWriter(writer, self._job.key, number, level=self._job.level)
                self._open.append((writer, file))
            self._mine.file = file
        return file.part(self._job.next_part())

    def done(self, writer: PartWriter) -> Part:
        """A part is complete."""
        part = writer.finish()
        with self._lock:
            self.parts.append(part)
        return part

    def put(self, data: bytes) -> Part:
        """A part of known bytes."""
        writer = self.part()
        writer.write(data)
        return self.done(writer)

    def commit(self) -> None:
        """Make all of them durable. Those that are should another fail are nothing without a manifest, and swept."""
        done: list[str] = []
        try:
            for writer, file in self._open:
                writer.commit()
                done.append(file.name)
        except BaseException:
            for name in done:
                self._job.storage.delete(f"{self._job.prefix}/{name}")
            raise


def copy_rows(
    job: Job, connection: Connection[Any], todo: list[Piece], files: Files, workers: int
) -> list[tuple[Piece, Part, int]]:
    """Copy all pieces and end the transaction; small schemas on the session that has the snapshot, others by several at
    once."""
    if not todo or (todo[0].size < BIG_BYTES and sum(piece.size for piece in todo) < 4 * BIG_BYTES):
        return _copy_together(job, connection, todo, files)
    row = connection.execute(QUERIES["export"]).fetchone()
    snapshot = str(row[0]) if row else ""
    queue, lock = list(reversed(todo)), threading.Lock()
    count = max(1, min(workers, len(todo)))
    with ThreadPoolExecutor(count, thread_name_prefix="backup") as pool:
        futures = [pool.submit(_worker, job, snapshot, queue, lock, files) for _ in range(count)]
        _await(job, futures)
    connection.execute("ROLLBACK")
    return [item for future in futures for item in future.result()]


def _await(job: Job, futures: list[Future[Any]]) -> None:
    """Wait for all, telling how far they are; the first failure (or ours) stops the others."""
    try:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_EXCEPTION)
            job.tell()
            for future in done:
                future.result()
    except BaseException:
        job.stop.set()
        raise


def _worker(
    job: Job, snapshot: str, queue: list[Piece], lock: threading.Lock, files: Files
) -> list[tuple[Piece, Part, int]]:
    """Take pieces until none is left, on a session that sees the snapshot."""
    copied = []
    begin = (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)).as_string(),
    )
    with opened(job.dsn) as connection:
        for statement in begin:
            connection.execute(statement)
        while not job.stop.is_set():
            with lock:
                if not queue:
                    break
                piece = queue.pop()
            if piece.size < BIG_BYTES:
                copied.append(_copy_here(job, connection, piece, files))
            else:
                copied.append(_copy_by_psql(job, connection, begin, piece, files))
        connection.execute("ROLLBACK")
    return copied


def _statement(schema: str, piece: Piece) -> sql.Composed:
    """The COPY of a piece."""
    rows, name = piece.rows, sql.Identifier(schema, piece.rows.name)
    form = sql.SQL("(FORMAT {})").format(sql.SQL(rows.format))
    if piece.pages is None and not rows.whole:
        return sql.SQL("COPY {} {} TO STDOUT {}").format(name, column_list(rows.columns), form)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    if piece.pages is None:
        return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT {}").format(columns, name, form)
    start, end = piece.pages
    where = sql.SQL("ctid >= {}").format(sql.Literal(f"({start},0)"))
    if end is not None:
        where += sql.SQL(" AND ctid < {}").format(sql.Literal(f"({end},0)"))
    return sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT {}").format(columns, name, where, form)


def _copy_here(job: Job, connection: Connection[Any], piece: Piece, files: Files) -> tuple[Piece, Part, int]:
    """Copy on this session: few rows, or no reason for a process."""
    stream = _Stream(job, files)
    with connection.cursor() as cursor:
        with cursor.copy(_statement(job.schema, piece)) as copy:
            for row in copy:
                stream.add(row)
        count = cursor.rowcount
    return piece, stream.end(count), count


def _copy_together(
    job: Job, connection: Connection[Any], todo: list[Piece], files: Files
) -> list[tuple[Piece, Part, int]]:
    """Copy all of a small schema by one message, which also ends the transaction."""
    copied: list[tuple[Piece, Part, int]] = []
    stream = _Stream(job, files, tell=True)

    def done(count: int) -> None:
        nonlocal stream
        if len(copied) < len(todo):  # behind them is the transaction's end
            copied.append((todo[len(copied)], stream.end(count), count))
            stream = _Stream(job, files, tell=True)
            job.tell()

    def add(row: bytes | memoryview) -> None:
        stream.add(row)

    statements = [_statement(job.schema, piece) for piece in todo]
    copy_together(connection, [*statements, sql.SQL("ROLLBACK")], add, done)
    return copied


class _Stream:
    """The rows of one COPY on their way into a part. `tell`: this is the thread that tells how far we are."""

    def __init__(self, job: Job, files: Files, *, tell: bool = False) -> None:
        self._job, self._files, self._tell, self._held = job, files, tell, bytearray()
        self._writer: PartWriter | None = None

    def add(self, row: bytes | bytearray | memoryview) -> None:
        self._held += row
        if len(self._held) >= BLOCK:
            self._write()
            if self._tell:
                self._job.tell()

    def end(self, count: int) -> Part:
        """All `count` rows came."""
        return self._files.done(self._write(count))

    def _write(self, count: int = 0) -> PartWriter:
        self._writer = self._writer or self._files.part()
        self._writer.write(self._held)
        self._job.advance(len(self._held), count)
        self._held = bytearray()
        return self._writer


def _copy_by_psql(
    job: Job, connection: Connection[Any], begin: tuple[str, ...], piece: Piece, files: Files
) -> tuple[Piece, Part, int]:
    """Copy through psql and a pipe: the rows pass through here by the megabyte."""
    statement = _statement(job.schema, piece).as_string(connection)
    writer = files.part()
    with Psql(job.dsn, connection.info.server_version // 10_000, [*begin, SETTINGS], statement) as psql:
        for block in psql.blocks():
            writer.write(block)
            job.advance(len(block))
        count = psql.rows()
    job.advance(0, count)
    return piece, files.done(writer), count
