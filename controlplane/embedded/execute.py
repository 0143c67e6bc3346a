"""`exec`: run one command with throw-away servers around it, and leave nothing behind."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import IO

from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.keys import is_given, new_keys
from controlplane.embedded.pgbouncer import EmbeddedPgBouncer
from controlplane.embedded.postgres import EmbeddedPostgres, default_bin_dir
from controlplane.embedded.process import adopt_orphans, collect_orphans, works_in
from controlplane.embedded.redis import EmbeddedRedis

POSTGRES15_BIN = Path("/usr/lib/postgresql/15/bin")
PREFIX = "cp-exec-"
ON_DISK, IN_MEMORY = Path("/tmp"), Path("/dev/shm")  # noqa: S108  (TMPDIR may be long or private; sockets need short paths)
ROOM = 8 * 2**30  # bytes free before servers are kept in memory
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
Server = EmbeddedPostgres | EmbeddedRedis | EmbeddedPgBouncer


class Interrupted(Exception):
    """A signal asked us to end before the command had started."""

    def __init__(self, number: int) -> None:
        """`number` is the signal."""
        super().__init__(f"signal {number}")
        self.number = number


def _usable(place: Path) -> bool:
    return os.access(place, os.R_OK | os.W_OK | os.X_OK)


def has_room() -> bool:
    """Whether memory holds what a run of all tests leaves there, and their programs beside it."""
    with contextlib.suppress(OSError, ValueError):
        status = os.statvfs(IN_MEMORY)
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        available = int(meminfo.split("MemAvailable:", 1)[1].split()[0]) * 1024
        return min(status.f_bavail * status.f_frsize, available) >= ROOM
    return False


def _place(*, durable: bool) -> Path:
    """A directory with a short path that the service account can enter: in memory when there is room and nothing need
    last, since thousands of tables are as many files, and making those is what a disk is slowest at."""
    if not durable and _usable(IN_MEMORY) and has_room():
        return IN_MEMORY
    return ON_DISK if _usable(ON_DISK) else Path(tempfile.gettempdir())


def _sweep(place: Path) -> None:
    """Remove homes of killed runs: those of ours whose lock nobody holds."""
    for old in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if old.is_symlink() or old.stat().st_uid != os.getuid():
                continue
            with (old / "lock").open("r") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not any(_runs(old / name / "data") for name in ("postgres", "postgres15")):
                    shutil.rmtree(old, ignore_errors=True)


def _runs(data: Path) -> bool:
    """Whether a server still works there; the file alone says little after the machine was restarted."""
    try:
        return works_in(int((data / "postmaster.pid").read_text(encoding="ascii").split()[0]), data)
    except (OSError, ValueError, IndexError):
        return False


@contextlib.contextmanager
def throwaway_directory(*, durable: bool = False) -> Iterator[Path]:
    """A directory for servers' homes, removed afterwards; also removes those of killed runs."""
    place = _place(durable=durable)
    for each in {place, ON_DISK, IN_MEMORY}:
        _sweep(each)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    directory.chmod(0o711 if os.getuid() == 0 else 0o700)
    handle: IO[str] = (directory / "lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        handle.close()


def _wanted(home: Path, *, durable: bool, postgres15: bool) -> dict[str, Server]:
    servers: dict[str, Server] = {}
    say = _say
    if not os.environ.get("DATABASE_URL"):
        servers["postgres"] = EmbeddedPostgres(home / "postgres", durable=durable, say=say)
    if not os.environ.get("REDIS_URL"):
        servers["redis"] = EmbeddedRedis(home / "redis", durable=durable, say=say)
    if postgres15 and not os.environ.get("POSTGRES15_URL"):
        directory = Path(os.environ.get("POSTGRES15_BIN") or POSTGRES15_BIN)
        if not (directory / "postgres").is_file():
            message = f"PostgreSQL 15 is not in {directory}: install postgresql-15 or set POSTGRES15_BIN."
            raise EmbeddedServerError(message)
        servers["postgres15"] = EmbeddedPostgres(home / "postgres15", bin_dir=directory, durable=durable, say=say)
    return servers


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _settle(server: Server) -> None:
    server.wait_ready()
    if isinstance(server, EmbeddedPostgres):
        server.bootstrap()


@contextlib.contextmanager
def started(servers: Mapping[str, Server]) -> Iterator[Mapping[str, Server]]:
    """Start all servers side by side for the block, bootstrapped; stop all of them whatever happens."""
    with ThreadPoolExecutor(max_workers=max(1, 2 * len(servers))) as pool:
        try:
            list(pool.map(lambda server: server.prepare(), servers.values()))
            for server in servers.values():  # in this thread: see ServerProcess
                server.launch()
            list(pool.map(_settle, servers.values()))
            yield servers
        finally:
            list(pool.map(lambda server: server.stop(), servers.values()))


def environment(servers: Mapping[str, Server]) -> dict[str, str]:
    """The variables that tell a command where the servers are, and keys where none are set."""
    env = {name: key for name, key in new_keys().items() if not is_given(name, dict(os.environ))}
    for name, prefix in (("postgres", ""), ("postgres15", "POSTGRES15_")):
        server = servers.get(name)
        if isinstance(server, EmbeddedPostgres):
            env[f"{prefix}SUPERUSER_{'' if prefix else 'DATABASE_'}URL"] = server.superuser_url
            env[f"{prefix}URL" if prefix else "DATABASE_URL"] = server.url
            env[f"{prefix}POOLER_PASSWORD"] = server.pooler_password
    if "redis" in servers:
        env["REDIS_URL"] = servers["redis"].url
    with contextlib.suppress(EmbeddedServerError):
        env["POSTGRES_BIN"] = str(default_bin_dir())
    return env


class Forwarder:
    """Passes signals on to the command once there is one; before that they end us in good order."""

    def __init__(self) -> None:
        """Takes over the signals until `restore()`."""
        self.group: int | None = None
        self.ending = False
        self._before = {number: signal.signal(number, self._handle) for number in FORWARDED}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, number)
        elif not self.ending:
            self.ending = True
            raise Interrupted(number)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _terminal(group: int) -> Iterator[None]:
    """Let the command's process group own the terminal, if we do: Ctrl-C then reaches it, and once only."""
    try:
        ours = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        ours = False
    if not ours:
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, group)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


def _run(argv: Sequence[str], env: Mapping[str, str], forwarder: Forwarder) -> int:
    """Run the command in a process group of its own; what is left of the group afterwards is killed."""
    command = ["setpriv", "--pdeathsig", "TERM", "--", *argv]
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        raise EmbeddedServerError(f"The command {argv[0]} does not exist.")
    child = subprocess.Popen(command, env=dict(env), process_group=0)
    forwarder.group = child.pid
    try:
        with _terminal(child.pid):
            code = child.wait()
    finally:
        forwarder.ending = True
        forwarder.group = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def execute(
    argv: Sequence[str],
    *,
    postgres15: bool = False,
    durable: bool = False,
) -> int:
    """Run `argv` with PostgreSQL 18 and Redis (and 15) at its side; returns its exit code.

    Servers named by DATABASE_URL, REDIS_URL or POSTGRES15_URL are used instead of starting our own.
    """
    forwarder = Forwarder()
    adopt_orphans()
    try:
        with throwaway_directory(durable=durable) as home:
            servers = _wanted(home, durable=durable, postgres15=postgres15)
            with started(servers):
                env = {**os.environ, **environment(servers)}
                return _run(argv, env, forwarder)
    except Interrupted as interruption:
        return 128 + interruption.number
    finally:
        collect_orphans(())
        forwarder.restore()
