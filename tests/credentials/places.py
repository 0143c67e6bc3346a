"""Where a secret could be found by whoever may not have it, searched as text."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import connection
from psycopg import sql

Read = Callable[[], str]


class Wire:
    """Everything that is sent to Redis while it listens: messages are gone from there as soon as they are read."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=None)
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._listening.set()
            try:
                for command in monitor.listen():
                    self.heard.append(str(command["command"]))
            except (redis.ConnectionError, ValueError, OSError):
                return

    def start(self) -> None:
        """Returns when it hears."""
        self._thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        """Hang up."""
        self._client.connection_pool.disconnect()

    def text(self) -> str:
        """All of it so far."""
        assert self._thread.is_alive(), "it hears nothing any more"
        return "\n".join(self.heard)


def _values(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    read = {
        b"string": client.get,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
    }
    return read[kind](key) if kind in read else client.dump(key)


def redis_text() -> str:
    """Names and values of all keys of all databases."""
    found = []
    for number in range(16):
        client = redis.Redis.from_url(settings.REDIS_URL, db=number)
        found += [f"{key!r} {_values(client, key)!r}" for key in client.scan_iter(count=1000)]
        client.close()
    return "\n".join(found)


def rows_with(needles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Which of these stand in a row of which of the registry's tables, in whatever column."""
    wanted = list(needles)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        )
        tables = [row[0] for row in cursor.fetchall()]
        for table in tables:
            query = sql.SQL(
                "SELECT n FROM unnest(%s::text[]) AS n WHERE EXISTS (SELECT FROM {} AS t WHERE strpos(t::text, n) > 0)"
            )
            cursor.execute(query.format(sql.Identifier(table)), [wanted])
            yield from ((table, row[0]) for row in cursor.fetchall())


@contextmanager
def superuser() -> Iterator[psycopg.Connection[Any]]:
    """Who may look at everything on the server."""
    with psycopg.connect(os.environ["SUPERUSER_DATABASE_URL"], autocommit=True) as session:
        yield session


def server_log() -> str:
    """PostgreSQL's log."""
    with superuser() as session:
        row = session.execute("SHOW data_directory").fetchone()
    assert row is not None
    home = Path(row[0]).parent
    logs = [path for path in [*home.glob("*.log"), *home.glob("log/*")] if path.is_file()]
    assert logs, sorted(home.iterdir())
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)


def statements() -> str:
    """What the server remembers of statements, of all databases, and what is being run now."""
    with superuser() as session:
        remembered = session.execute("SELECT query FROM extensions.pg_stat_statements").fetchall()
        present = session.execute("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    return "\n".join(str(row[0]) for row in [*remembered, *present])


def verifiers(schema: str) -> list[str]:
    """The parts of the SCRAM verifiers of a tenant's roles as they are now that are as good as a password."""
    with superuser() as session:
        rows = session.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname ^@ %s AND rolpassword IS NOT NULL", [f"{schema}_"]
        ).fetchall()
    return [key for (text,) in rows for key in text.split("$")[2].split(":")]


def found_in(texts: dict[str, Read], needles: Iterable[str]) -> set[tuple[str, str]]:
    """Which of these stand where."""
    wanted = list(needles)
    found = {
        (place, needle) for place, read in texts.items() for text in [read()] for needle in wanted if needle in text
    }
    return found | {(f"table {table}", needle) for table, needle in rows_with(wanted)}
