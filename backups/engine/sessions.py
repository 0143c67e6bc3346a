"""The engine's sessions on a server: one kept for each thread, and psql for bulk rows.

A session is kept since a small tenant's whole backup costs less than the way to the server. It is given up after some
tenants, for the server remembers every table that a session ever saw.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import psycopg
from psycopg import sql

from tenants.exceptions import ClusterError, ClusterUnavailable
from tenants.postgres import Dsn, binary, connect

RECYCLE_AFTER = 100
RECYCLE_SECONDS = 600.0
UNASKED_SECONDS = 1.0
PIPE_BYTES = 1024 * 1024
NAME = "controlplane backup"
CONNECTION_LOST = 2  # psql's exit code for it

# Text means the same whatever the login's own settings are; names are qualified; nothing is cut short by a time limit.
SETTINGS = (
    "SET search_path = ''; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 1;"
    " SET bytea_output = hex; SET xmloption = content; SET statement_timeout = 0;"
    " SET idle_in_transaction_session_timeout = 0; SET client_encoding = 'UTF8'; SET row_security = off;"
    " SET synchronize_seqscans = off"
)

_kept = threading.local()


class _Kept:
    def __init__(self, dsn: Dsn) -> None:
        self._stack = contextlib.ExitStack()
        self.connection = self._stack.enter_context(opened(dsn))
        self.uses, self.begun = 0, time.monotonic()
        self.used = self.begun

    def worn(self) -> bool:
        return self.uses >= RECYCLE_AFTER or time.monotonic() - self.begun > RECYCLE_SECONDS

    def good(self) -> bool:
        """Whether it can be used; one that answered a moment ago is not asked again."""
        idle = time.monotonic() - self.used
        return not self.worn() and (idle < UNASKED_SECONDS or _alive(self.connection))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._stack.close()


@contextlib.contextmanager
def opened(dsn: Dsn) -> Iterator[psycopg.Connection[Any]]:
    """A fresh autocommit session with the engine's settings. Raises as `tenants.postgres.connect` does."""
    with connect(dsn, autocommit=True, application_name=NAME, statement_timeout_ms=0) as connection:
        connection.execute(SETTINGS)
        yield connection


@contextlib.contextmanager
def kept(dsn: Dsn) -> Iterator[psycopg.Connection[Any]]:
    """This thread's session on a server, opened when there is none that is good. After any error it is closed.

    A connection that is found dead is replaced.
    """
    sessions: dict[Dsn, _Kept] = _kept.__dict__.setdefault("sessions", {})
    session = sessions.pop(dsn, None)
    if session is not None and not session.good():
        session.close()
        session = None
    session = session or _Kept(dsn)
    session.uses += 1
    try:
        yield session.connection
    except BaseException:
        session.close()
        raise
    session.used = time.monotonic()
    sessions[dsn] = session


def _alive(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def close_kept() -> None:
    """Close this thread's sessions."""
    for session in _kept.__dict__.pop("sessions", {}).values():
        session.close()


class Psql:
    """psql writing rows into a pipe: `COPY … TO STDOUT` without a line of Python for each row."""

    def __init__(self, dsn: Dsn, major: int, before: Sequence[str], copy: str) -> None:
        # Told where to write, psql also says how many rows it wrote; it does not when it takes that for its own output.
        script = ";\n".join([*before, copy]) + " \\g /dev/fd/1\n\\warn :ROW_COUNT\n"
        self._process = subprocess.Popen(
            [str(psql(major)), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **dsn.environment(), "PGAPPNAME": NAME, "PGCLIENTENCODING": "UTF8"},
        )
        stdin = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it says why on its own
            stdin.write(script.encode())
            stdin.close()
        self._process.stdin = None
        self._out = cast(IO[bytes], self._process.stdout).fileno()
        with contextlib.suppress(OSError):  # more than an account may have: then it is what it is
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> Psql:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def blocks(self) -> Iterator[bytes]:
        """What the COPY writes, as it comes."""
        while block := os.read(self._out, PIPE_BYTES):
            yield block

    def rows(self) -> int:
        """How many rows the COPY wrote, after the last block. Raises ClusterUnavailable, or ClusterError with psql's
        message."""
        _, errors = self._process.communicate()
        lines = errors.decode(errors="replace").strip().splitlines()
        if self._process.returncode == CONNECTION_LOST:
            raise ClusterUnavailable("The server ended the connection over which rows were copied.")
        if self._process.returncode != 0 or not lines or not lines[-1].isdigit():
            message = next((line for line in lines if "ERROR" in line or "error" in line), "it ended without a message")
            raise ClusterError(f"COPY failed: {message.removeprefix('ERROR:').strip()}.")
        return int(lines[-1])


def psql(major: int) -> Path:
    """The psql for a server of this major version. Raises ControlPlaneError when there is none."""
    return binary("psql", minimum_major=major)


def column_list(columns: Sequence[str]) -> sql.Composable:
    """`(a, b)`, or nothing: a table without columns has rows, too."""
    return _column_list(tuple(columns))


@functools.lru_cache(maxsize=4096)  # all tenants of a template have the same
def _column_list(columns: tuple[str, ...]) -> sql.SQL:
    names = sql.SQL(", ").join(map(sql.Identifier, columns)).as_string()
    return sql.SQL(f"({names})" if columns else "")
