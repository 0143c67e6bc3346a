"""The PgBouncer in front of a PostgreSQL of our own, where this machine has the program (Debian's package has it)."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Protocol

import psycopg

from controlplane.embedded import ports
from controlplane.embedded.account import Account, reachable_home, service_account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import HomeLock, read_since, write_private
from controlplane.embedded.postgres import PROJECT
from controlplane.embedded.process import ServerProcess, clean_environment, end_orphan, works_in

TEMPLATE = PROJECT / "tenants" / "pooling" / "pgbouncer.ini"
USER = "cp_pooler"
START_SECONDS = 10.0
# Transactions under way may end; what is left of the patience goes to versions that then wait for their clients too.
STOP_SIGNALS = ((signal.SIGINT, 1.0), (signal.SIGTERM, 0.5), (signal.SIGQUIT, 1.0))


def installed() -> Path | None:
    """PgBouncer's program: PGBOUNCER_BIN, else where Debian or the PATH has it; None when there is none."""
    found = os.environ.get("PGBOUNCER_BIN") or shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(found).absolute() if found else None


class Behind(Protocol):
    """What it has to know of the server behind it."""

    @property
    def data(self) -> Path:
        """Whose owner it runs as."""

    @property
    def pooler_password(self) -> str:
        """Of the role `cp_pooler`."""

    @property
    def pooler_way(self) -> str:
        """`HOST:PORT` or `DIRECTORY:PORT` by which it is reached."""


class EmbeddedPgBouncer:
    """One PgBouncer under `home`: port, configuration, the file for tenants' limits (0600) and log lie there.

    All failures raise EmbeddedServerError with one line.
    `start()` is `prepare()` + `launch()` + `wait_ready()`; the middle one must run in a lasting thread, and after the
    server is ready.
    """

    def __init__(
        self,
        home: Path,
        server: Behind,
        *,
        binary: Path | None = None,
        project: Path = PROJECT,
        say: Callable[[str], None] = print,
    ) -> None:
        """`say` gets the rare lines a person should read."""
        self.binary, self.server = binary or installed(), server
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
    def log(self) -> Path:
        """What it wrote."""
        return self.home / "pgbouncer.log"

    @property
    def pid(self) -> int | None:
        """Its process id while it is ours and runs."""
        return self._process.pid if self._process and self._process.is_running() else None

    @property
    def tenants_file(self) -> Path:
        """The included file, which the control plane writes."""
        return self.home / "tenants.ini"

    @property
    def url(self) -> str:
        """URL of its own login."""
        return f"postgres://{USER}:{self.server.pooler_password}@127.0.0.1:{self.port}/pgbouncer"

    @property
    def events(self) -> Path:
        """The log that it writes itself: failed logins, with their addresses."""
        return self.home / "run" / "events.log"

    def environment(self) -> dict[str, str]:
        """By which the control plane finds it."""
        return {
            "POOLER_URL": self.url,
            "POOLER_CONFIG": str(self.tenants_file),
            "POOLER_LOG": str(self.events),
            "POOLER_SERVER": self.server.pooler_way,
        }

    def is_running(self) -> bool:
        """Whether our process lives."""
        return self._process is not None and self._process.is_running()

    def start(self) -> None:
        """Start it and wait until its console answers."""
        if self.is_running():
            return
        self.prepare()
        self.launch()
        self.wait_ready()

    def prepare(self) -> None:
        """Everything before the process: account, places, lock, left-overs."""
        if self.binary is None:
            raise EmbeddedServerError("PgBouncer is missing: install the package pgbouncer or set PGBOUNCER_BIN.")
        self._account = account = service_account(self.server.data)
        if not account.may_execute(self.binary):
            raise EmbeddedServerError(f"{account.name} may not run {self.binary}.")
        self.home = reachable_home(self._wanted_home, account, self._project, self._say)
        lock = HomeLock(self.home / "lock")
        lock.acquire(f"The PgBouncer in {self.home}")
        self._lock = lock
        account.make_directory(self.home / "run")
        pid = ports.remembered_number(self.home / "pid")
        if pid is not None and works_in(pid, self.home / "run"):
            end_orphan(pid, STOP_SIGNALS)
        (self.home / "pid").unlink(missing_ok=True)

    def launch(self) -> None:
        """Choose the port, write the configuration and start the process."""
        account = self._account
        if account is None or self._lock is None:
            raise EmbeddedServerError("prepare() comes before launch().")
        self.port = self._choose_port()
        version = self.version()
        config = self._write_configuration(account, version)
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        death_signal = "TERM" if version < (1, 23) else "QUIT"
        self._process = ServerProcess(
            [str(self.binary), "--quiet", str(config)],
            account=account,
            log=self.log,
            death_signal=death_signal,
            cwd=self.home / "run",
        )
        ports.remember(self.home / "pid", self._process.pid)

    def version(self) -> tuple[int, ...]:
        """The program's version."""
        result = subprocess.run(
            [str(self.binary), "--version"], capture_output=True, text=True, env=clean_environment()
        )
        found = re.search(r"PgBouncer (\d+)\.(\d+)\.(\d+)", result.stdout)
        if found is None:
            raise EmbeddedServerError(f"{self.binary} does not say which version of PgBouncer it is.")
        return tuple(int(part) for part in found.groups())

    def _write_configuration(self, account: Account, version: tuple[int, ...]) -> Path:
        owner = account.owner if account.switch else None
        users, config = self.home / "users.txt", self.home / "pgbouncer.ini"
        write_private(users, f'"{USER}" "{self.server.pooler_password}"\n', owner=owner)
        text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            listen_addr="127.0.0.1",
            listen_port=self.port,
            auth_file=users,
            included=self.tenants_file,
            logfile=f" {self.events}",
            prepared_statements="\nmax_prepared_statements = 200" if version >= (1, 21) else "",
        )
        write_private(config, text, owner=owner)
        if not self.tenants_file.exists():
            write_private(self.tenants_file, "; The control plane writes here.\n", owner=owner)
        return config

    def _choose_port(self) -> int:
        memory = self.home / "port"
        port = ports.remembered(memory)
        if port is not None and ports.is_free(port):
            return port
        chosen = ports.pick()
        if port is not None:
            self._say(f"  port {port} of PgBouncer is taken by another program; it now listens on {chosen}.")
        ports.remember(memory, chosen)
        return chosen

    def wait_ready(self, *, attempts: int = 3) -> None:
        """Wait until its console answers; if its port was taken meanwhile, try another."""
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
            lines = [line for line in written.splitlines() if re.search("ERROR|FATAL|cannot|error", line)]
            reason = (lines or ["it ended without a word"])[-1].rstrip(".")
            raise EmbeddedServerError(f"PgBouncer cannot start: {reason}. Log: {self.log}.")
        return None

    def _answers(self) -> bool:
        try:
            with psycopg.connect(
                self.url, autocommit=True, connect_timeout=2, cursor_factory=psycopg.ClientCursor
            ) as one:
                return one.execute("SHOW VERSION").fetchone() is not None
        except psycopg.Error:
            return False

    def stop(self) -> None:
        """Let transactions under way end, escalating; returns when it is gone."""
        if self._process is not None:
            self._process.stop(STOP_SIGNALS)
            self._process = None
            (self.home / "pid").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
