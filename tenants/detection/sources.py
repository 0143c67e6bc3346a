"""Where a log is read from: over SQL, from the server's files on this machine, or from PgBouncer's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from psycopg import Connection
from psycopg.rows import class_row

from tenants.models import IsolationAttempt, LogWatch
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
HEAD_BYTES = 120  # of which a head is a hash; that of a shorter file changes while it grows
PACKED = (".gz", ".xz", ".zst", ".bz2")
NO_JSON = "The server writes no JSON log: logging_collector = on and log_destination = jsonlog make it."
NO_FILES = "There is no log at {}."

# `… UTC [14176] WARNING C-0x564c: dbname/t_…_rw_a@127.0.0.1:58192 pooler error: SASL authentication failed`
_FAILED_LOGIN = re.compile(
    rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) (\S+) \[\d+\] \w+ C-\S+: "
    rb"[^/\s]+/(t_[a-z2-7]{20}_[a-z0-9_]{1,40})@(\S+?):\d+ pooler error: (?:SASL|password) authentication failed"
)


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
    """One of the files of a log. `head` is a hash of how it begins."""

    name: str
    size: int
    head: str


class Log(Protocol):
    """A log as files, of which a part can be read."""

    @property
    def source(self) -> str:
        """Which way it is."""

    def unreadable(self) -> str:
        """Why it cannot be read; empty when it can."""

    def files(self) -> list[LogFile]:
        """Its files, oldest first, the one that is written last."""

    def read(self, file: str, start: int, size: int) -> tuple[int, list[Entry]]:
        """Where the next part begins, and the attempts in this one."""


class OverSql:
    """The server's JSON log, which it reads itself for whoever may call the functions of prepare.sql."""

    source = LogWatch.Source.SQL

    def __init__(self, connection: Connection[Any]) -> None:
        """`connection` is in autocommit mode."""
        self._connection = connection

    def unreadable(self) -> str:
        """Whether there is one."""
        return "" if self._connection.execute(QUERIES["state"]).fetchone() == (True, True) else NO_JSON

    def files(self) -> list[LogFile]:
        """As the server lists them."""
        return self._connection.cursor(row_factory=class_row(LogFile)).execute(QUERIES["files"]).fetchall()

    def read(self, file: str, start: int, size: int) -> tuple[int, list[Entry]]:
        """Raises psycopg.Error."""
        values = {"file": file, "start": start, "bytes": size}
        first, *found = _entries(self._connection, "attempts", values)
        return first.next_byte, found


class JsonFiles:
    """The same log from its directory on this machine. What a line means is still said by the server's functions."""

    source = LogWatch.Source.FILE

    def __init__(self, directory: str, connection: Connection[Any]) -> None:
        """`directory` is the server's `log_directory`, as seen from here."""
        self._directory, self._connection = Path(directory), connection

    def unreadable(self) -> str:
        """Whether there is one."""
        return "" if self.files() else NO_FILES.format(self._directory)

    def files(self) -> list[LogFile]:
        """Raises OSError."""
        paths = [path for path in self._directory.iterdir() if path.suffix == ".json" and path.is_file()]
        return _described(sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)))

    def read(self, file: str, start: int, size: int) -> tuple[int, list[Entry]]:
        """Raises OSError, psycopg.Error."""
        raw = _part(self._directory / file, start, size)
        first, *found = _entries(self._connection, "parse", {"raw": raw, "at_end": len(raw) < size})
        return start + first.next_byte, found


class PoolerFile:
    """PgBouncer's log on this machine, with what rotation has made of it (`pgbouncer.log.1`)."""

    source = LogWatch.Source.FILE

    def __init__(self, path: str) -> None:
        """`path` is the file that is written now."""
        self._path = Path(path)

    def unreadable(self) -> str:
        """Whether there is one."""
        return "" if self._path.is_file() else NO_FILES.format(self._path)

    def files(self) -> list[LogFile]:
        """Raises OSError."""
        name = self._path.name
        older = [
            path
            for path in self._path.parent.iterdir()
            if path.name.startswith((f"{name}.", f"{name}-")) and path.suffix not in PACKED and path.is_file()
        ]
        older.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        return _described([*older, self._path])

    def read(self, file: str, start: int, size: int) -> tuple[int, list[Entry]]:
        """Only logins with a wrong password, and by a tenant's name: its errors in the server stand in that log."""
        raw = _part(self._path.parent / file, start, size)
        end = raw.rfind(b"\n") + 1
        if not end and len(raw) == size:
            end = size
        found = [_failed_login(match) for line in raw[:end].split(b"\n") if (match := _FAILED_LOGIN.match(line))]
        return start + end, found


def _entries(connection: Connection[Any], query: str, values: dict[str, Any]) -> Sequence[Entry]:
    return connection.cursor(row_factory=class_row(Entry)).execute(QUERIES[query], values).fetchall()


def _part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as handle:
        handle.seek(start)
        return handle.read(size)


def _described(paths: Sequence[Path]) -> list[LogFile]:
    found = []
    for path in paths:
        with path.open("rb") as handle:
            head = hashlib.sha256(handle.read(HEAD_BYTES)).hexdigest()
        found.append(LogFile(path.name, path.stat().st_size, head))
    return found


def _failed_login(match: re.Match[bytes]) -> Entry:
    at, zone, login, address = (group.decode("ascii", "replace") for group in match.groups())
    # Written some seconds ago at most: where the zone is another than UTC that is near enough.
    when = datetime.fromisoformat(at).replace(tzinfo=UTC) if zone in ("UTC", "GMT") else datetime.now(UTC)
    kind = IsolationAttempt.Kind.LOGIN
    return Entry(0, when, kind, "", login, "LOGIN", address.strip("[]"), 0, "")
