"""Reading a server's JSON log from where the last reading ended, over SQL and with the monitor's rights alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import transaction
from django.utils import timezone
from psycopg import Connection
from psycopg.rows import class_row

from tenants.detection.attempts import note_attempts
from tenants.models import Cluster, LogWatch
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
CHUNK_BYTES = 1_048_576
CHUNKS_AT_ONCE = 16  # in one transaction
ROUNDS = 64  # of so many chunks in one reading, then others have their turn
HEAD_BYTES = 120  # of which a head is a hash; that of a shorter file changes while it grows
NO_JSON = "The server writes no JSON log: logging_collector = on and log_destination = jsonlog make it."
NO_RIGHT = "The log may not be read here: a superuser must have prepared the cluster."
NO_FUNCTION = "The functions that read the log are missing: prepare the cluster again."


@dataclass(frozen=True)
class Entry:
    """A row of `cp.log_attempts`; of the first only `next_byte` is there."""

    next_byte: int
    at: datetime
    kind: str | None
    login: str
    target: str
    statement: str
    address: str
    pid: int
    application: str


@dataclass(frozen=True)
class LogFile:
    """One of the server's JSON log files. `head` is a hash of how it begins."""

    name: str
    size: int
    head: str


def read_log(cluster: Cluster, connection: Connection[Any]) -> int:
    """Read what was written since the last time, up to a gigabyte, and note the attempts in it. Returns how many there
    were.

    Several may call it: one at a time reads. Where the log cannot be read the reason is noted, and 0 returned.
    `connection` is in autocommit mode. The first time nothing is read: watching begins at the end.
    """
    LogWatch.objects.get_or_create(cluster=cluster)
    total = 0
    for _ in range(ROUNDS):
        count, more = _read_some(cluster, connection)
        total += count
        if not more:
            break
    return total


def _read_some(cluster: Cluster, connection: Connection[Any]) -> tuple[int, bool]:
    """A part of it, and the place after it, in one transaction. Returns how many attempts, and if there is more."""
    with transaction.atomic():
        watch = LogWatch.objects.select_for_update(skip_locked=True).filter(cluster=cluster).first()
        if watch is None:
            return 0, False
        found: list[Entry] = []
        more = False
        try:
            watch.reason = _unreadable(connection)
            if not watch.reason:
                found, more = _read(watch, connection)
        except psycopg.errors.InsufficientPrivilege:
            watch.reason = NO_RIGHT
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
            watch.reason = NO_FUNCTION
        watch.seen_at = timezone.now()
        count, suppressed = note_attempts(cluster, found)
        watch.suppressed += suppressed
        watch.save()
        return count, more


def _unreadable(connection: Connection[Any]) -> str:
    return "" if connection.execute(QUERIES["state"]).fetchone() == (True, True) else NO_JSON


def _files(connection: Connection[Any]) -> list[LogFile]:
    return connection.cursor(row_factory=class_row(LogFile)).execute(QUERIES["files"]).fetchall()


def _read(watch: LogWatch, connection: Connection[Any]) -> tuple[list[Entry], bool]:
    files = _files(connection)
    if not files:
        return [], False
    if not watch.file:  # from now on
        watch.file, watch.offset, watch.head = files[-1].name, files[-1].size, files[-1].head
        return [], False
    found: list[Entry] = []
    for _ in range(CHUNKS_AT_ONCE):
        current = _current(watch, files)
        cursor = connection.cursor(row_factory=class_row(Entry))
        place = {"file": watch.file, "start": watch.offset, "bytes": CHUNK_BYTES}
        first, *entries = cursor.execute(QUERIES["attempts"], place).fetchall()
        found += entries
        moved = first.next_byte > watch.offset
        watch.offset = first.next_byte
        if moved and watch.offset < current.size:
            continue
        # The list is older than the reading: where it has a newer file, nothing more comes in this one.
        later = files[files.index(current) + 1 :]
        if not later:
            return found, False
        watch.file, watch.offset, watch.head = later[0].name, 0, later[0].head
    return found, True


def _current(watch: LogWatch, files: Sequence[LogFile]) -> LogFile:
    """The file that is being read. One that is gone, cut short or another one of its name begins anew: the oldest, in
    the first case, since all that are left may be newer."""
    same = next((file for file in files if file.name == watch.file), None)
    if same is None:
        after = [file for file in files if file.name > watch.file] or list(files)
        watch.file, watch.offset, watch.head = after[0].name, 0, after[0].head
        return after[0]
    if same.size < watch.offset or (watch.offset >= HEAD_BYTES and watch.head and same.head != watch.head):
        watch.offset = 0
    watch.head = same.head
    return same
