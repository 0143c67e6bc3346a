"""Reading a log from where the last reading ended: the server's JSON log, and PgBouncer's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from psycopg import Connection

from tenants.detection.attempts import note_attempts
from tenants.detection.sources import HEAD_BYTES, Entry, JsonFiles, Log, LogFile, OverSql, PoolerFile
from tenants.models import Cluster, LogWatch, Pooler, PoolerLogWatch

CHUNK_BYTES = 1_048_576
CHUNKS_AT_ONCE = 16  # in one transaction
ROUNDS = 64  # of so many chunks in one reading, then others have their turn
NO_RIGHT = "The log may not be read here: a superuser must have prepared the cluster."
NO_FUNCTION = "The functions that read the log are missing: prepare the cluster again."
NO_FILE = "The file cannot be read here: {}."


def read_log(cluster: Cluster, connection: Connection[Any]) -> int:
    """Read what was written since the last time, up to a gigabyte, and note the attempts in it. Returns how many there
    were.

    From the files in the cluster's `log_path` where it names some, else over SQL. Several may call it: one at a time
    reads. Where the log cannot be read the reason is noted, and 0 returned. `connection` is in autocommit mode. The
    first time nothing is read: watching begins at the end.
    """
    LogWatch.objects.get_or_create(cluster=cluster)
    log: Log = JsonFiles(cluster.log_path, connection) if cluster.log_path else OverSql(connection)
    return _read_on(LogWatch.objects.filter(cluster=cluster), cluster, log)


def read_pooler_log(pooler: Pooler) -> int:
    """The same for PgBouncer's own log, which must be on this machine: failed logins by tenants' names."""
    if not pooler.log_path:
        return 0
    PoolerLogWatch.objects.get_or_create(pooler=pooler)
    return _read_on(PoolerLogWatch.objects.filter(pooler=pooler), pooler.cluster, PoolerFile(pooler.log_path))


Watch = LogWatch | PoolerLogWatch


def _read_on(place: QuerySet[Any], cluster: Cluster, log: Log) -> int:
    total = 0
    for _ in range(ROUNDS):
        count, more = _read_some(place, cluster, log)
        total += count
        if not more:
            break
    return total


def _read_some(place: QuerySet[Any], cluster: Cluster, log: Log) -> tuple[int, bool]:
    """A part of it, and the place after it, in one transaction. Returns how many attempts, and if there is more."""
    with transaction.atomic():
        watch: Watch | None = place.select_for_update(skip_locked=True).first()
        if watch is None:
            return 0, False
        found: list[Entry] = []
        more = False
        try:
            _begin_with(watch, log.source)
            watch.reason = log.unreadable()
            if not watch.reason:
                found, more = _read(watch, log)
        except psycopg.errors.InsufficientPrivilege:
            watch.reason = NO_RIGHT
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
            watch.reason = NO_FUNCTION
        except OSError as error:
            watch.reason = NO_FILE.format(error.strerror)
        watch.seen_at = timezone.now()
        count, suppressed = note_attempts(cluster, found)
        watch.suppressed += suppressed
        watch.save()
        return count, more


def _begin_with(watch: Watch, source: str) -> None:
    """Files have other names by another way: then watching begins at the end again."""
    if watch.source and watch.source != source:
        watch.file, watch.offset, watch.head = "", 0, ""
    watch.source = source


def _read(watch: Watch, log: Log) -> tuple[list[Entry], bool]:
    files = log.files()
    if not files:
        return [], False
    if not watch.file:  # from now on
        watch.file, watch.offset, watch.head = files[-1].name, files[-1].size, files[-1].head
        return [], False
    found: list[Entry] = []
    for _ in range(CHUNKS_AT_ONCE):
        current = _current(watch, files)
        after, entries = log.read(watch.file, watch.offset, CHUNK_BYTES)
        found += entries
        moved = after > watch.offset
        watch.offset = after
        if moved and watch.offset < current.size:
            continue
        # The list is older than the reading: where it has a newer file, nothing more comes in this one.
        later = files[files.index(current) + 1 :]
        if not later:
            return found, False
        watch.file, watch.offset, watch.head = later[0].name, 0, later[0].head
    return found, True


def _current(watch: Watch, files: Sequence[LogFile]) -> LogFile:
    """The file that is being read, whatever its name is now. One that is gone, cut short or another one of its name
    begins anew: the oldest, in the first case, since all that are left may be newer."""
    same = next((file for file in files if file.name == watch.file), None)
    known = bool(watch.offset >= HEAD_BYTES and watch.head)
    if known and (same is None or same.head != watch.head):  # renamed by rotation: the rest of it comes first
        moved = next((file for file in files if file.head == watch.head and file.size >= watch.offset), None)
        if moved is not None:
            watch.file = moved.name
            return moved
    if same is None:
        after = [file for file in files if file.name > watch.file] or list(files)
        watch.file, watch.offset, watch.head = after[0].name, 0, after[0].head
        return after[0]
    if same.size < watch.offset or (known and same.head != watch.head):
        watch.offset = 0
    watch.head = same.head
    return same


def note_unreachable(cluster: Cluster, reason: str) -> None:
    """Write down why the server's log could not even be asked for."""
    changed: dict[str, Any] = {"seen_at": timezone.now(), "reason": reason[:300]}
    LogWatch.objects.update_or_create(cluster=cluster, defaults=changed)
