"""`run`: everything `make run` starts, from the servers to the ready line, and its orderly end."""

import json
import os
import re
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from controlplane.embedded import ports
from controlplane.embedded.commands import command, say, static_files, timed
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.execute import Interrupted, Server, started
from controlplane.embedded.files import LOG_LIMIT, held_lock
from controlplane.embedded.leftovers import Parent, end_marked
from controlplane.embedded.pgbouncer import EmbeddedPgBouncer, installed
from controlplane.embedded.place import Place
from controlplane.embedded.postgres import EmbeddedPostgres, default_bin_dir
from controlplane.embedded.process import adopt_orphans, collect_orphans
from controlplane.embedded.programs import Crashes, Program, programs, stop_all
from controlplane.embedded.redis import EmbeddedRedis

DEFAULT_PORT = 8000
READY_SECONDS = 60.0
WATCH_SECONDS = 0.2
ROTATE_SECONDS = 60.0
END_SECONDS = 12.0  # until PostgreSQL has to stop at once; with that, all is over within 15
# Stopping waits for what was written since the last checkpoint, so let that never be much.
POSTGRES_SETTINGS = {"checkpoint_timeout": "1min"}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def wanted_port() -> int:
    """The port of the web server: PORT, else 8000; raises EmbeddedServerError when it makes no sense."""
    text = os.environ.get("PORT") or str(DEFAULT_PORT)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise EmbeddedServerError(f"PORT={text} is not a port number (1 to 65535).")
    return int(text)


def _step(line: str) -> None:
    """Print what a command says it has done and how long it took."""
    if match := re.fullmatch(r"  (\S.*?) +([0-9.]+) s", line):
        say(f"  {match[1]} … {float(match[2]):.1f} s")


# Nobody waits for these: they begin when what is waited for has the processors no more.
BESIDE = ("sealer", "reaper")


class Supervisor:
    """One run in one directory. `run()` returns the exit code; what goes wrong is an EmbeddedServerError."""

    def __init__(self, directory: Path) -> None:
        """`directory` is `.local` of the project, or another one for tests."""
        self.port = wanted_port()
        self.place = Place(directory)
        self.servers: dict[str, Server] = {}
        self.programs: list[Program] = []
        self._crashes: dict[str, Crashes] = {}
        self._began = time.monotonic()
        self._ending = False
        self._parent = Parent()

    def run(self) -> int:
        """Start everything, watch over it until a signal comes, stop everything."""
        before = {number: signal.signal(number, self._on_signal) for number in ENDING}
        adopt_orphans()
        try:
            with held_lock(self.place.directory / "lock", f"make run in {self.place.directory}"):
                self._run_locked()
        except Interrupted:
            say("stopped")
        finally:
            collect_orphans(())
            for number, handler in before.items():
                signal.signal(number, handler)
        return 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The first signal ends the run; later ones change nothing, for the end is bounded in time."""
        if not self._ending:
            self._ending = True
            raise Interrupted(number)

    def _run_locked(self) -> None:
        end_marked(self.place.directory, seconds=6)
        if not ports.is_free(self.port):
            message = f"Port {self.port} is in use or not allowed: stop what listens there, or choose another"
            raise EmbeddedServerError(f"{message}, for example: make run PORT={ports.pick()}")
        self.place.keys()  # without them the data could not be read
        self.servers = self._wanted_servers()
        began = time.monotonic()
        with started(self.servers):
            for server in self.servers.values():
                kind = "PostgreSQL" if isinstance(server, EmbeddedPostgres) else "Redis"
                say(f"  {kind} on 127.0.0.1:{server.port} … {time.monotonic() - began:.1f} s")
            with started(self._wanted_pooler()) as pooler:  # it has to know where the server listens
                self.servers |= pooler
                try:
                    self._serve()
                finally:
                    self._end()

    def _wanted_servers(self) -> dict[str, Server]:
        """The servers the environment does not name."""
        servers: dict[str, Server] = {}
        directory = self.place.directory
        if not (os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE")):
            servers["postgres"] = EmbeddedPostgres(directory / "postgres", settings=POSTGRES_SETTINGS, say=say)
        if not (os.environ.get("REDIS_URL") or os.environ.get("REDIS_URL_FILE")):
            servers["redis"] = EmbeddedRedis(directory / "redis", say=say)
        self._crashes = {name: Crashes(name, server.log) for name, server in servers.items()}
        return servers

    def _wanted_pooler(self) -> dict[str, Server]:
        """A PgBouncer in front of our own server, if this machine has the program and nobody named another."""
        server = self.servers.get("postgres")
        if (
            not isinstance(server, EmbeddedPostgres)
            or os.environ.get("POOLER_URL")
            or os.environ.get("POOLER_URL_FILE")
        ):
            return {}
        if installed() is None:
            say("  no PgBouncer (Debian's package pgbouncer): tenants connect to PostgreSQL itself")
            return {}
        pooler = EmbeddedPgBouncer(self.place.directory / "pgbouncer", server, say=say)
        self._crashes["pgbouncer"] = Crashes("pgbouncer", pooler.log)
        return {"pgbouncer": pooler}

    def _urls(self) -> dict[str, str]:
        names = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}
        urls = {names[name]: server.url for name, server in self.servers.items() if name in names}
        for server in self.servers.values():
            if isinstance(server, EmbeddedPgBouncer):
                say(f"  PgBouncer on 127.0.0.1:{server.port}")
                urls |= server.environment()
        return {**urls, "POSTGRES_BIN": str(default_bin_dir())}

    def _serve(self) -> None:
        """The steps from servers to readiness, then watching; ends by an exception only."""
        env = self.place.environment(self._urls(), port=self.port)
        log = self.place.log
        with static_files(env, log("collectstatic")) as files:  # beside the other steps
            credentials = self._bootstrap(env)
            checkpoint = self._checkpoint()  # a first bootstrap writes thousands of files
            files.finish()
        with timed("web, worker, beat, sealer, reaper"):
            self.programs = programs(env, port=self.port, log=log)
            for program in self.programs:
                if program.name not in BESIDE:
                    program.start()
            self._wait_ready()
            for program in self.programs:
                if program.name in BESIDE:
                    program.start()
        checkpoint.join()
        self._announce(env["PUBLIC_URL"], credentials)
        self._watch()

    def _checkpoint(self) -> threading.Thread:
        """Let PostgreSQL write out what it has, beside other things: it then stops, and starts again, at once."""
        server = self.servers.get("postgres")
        work = server.checkpoint if isinstance(server, EmbeddedPostgres) and server.is_running() else lambda: None
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _bootstrap(self, env: Mapping[str, str]) -> dict[str, str]:
        """Everything the registry needs at least once; returns, and keeps, the credentials made by it.

        This command alone is told the superuser's password, to close the cluster.
        """
        server = self.servers.get("postgres")
        if isinstance(server, EmbeddedPostgres):
            env = {**env, "CLUSTER_SUPERUSER_URL": server.superuser_url}
        with command("bootstrap", "--migrate", "--json", env=env, log=self.place.log("bootstrap")) as running:
            report = json.loads(running.finish(_step))
        credentials: dict[str, str] = report["credentials"]
        if credentials:
            self.place.keep_credentials(credentials)
        return credentials

    def _wait_ready(self) -> None:
        """Wait until /readyz answers 200."""
        deadline = time.monotonic() + READY_SECONDS
        url = f"http://127.0.0.1:{self.port}/readyz"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through http_proxy
        seen = "no answer"
        while time.monotonic() < deadline:
            self._look()
            try:
                with direct.open(url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except urllib.error.HTTPError as error:
                seen = f"{error.code} {error.read(300).decode('utf-8', 'replace')}".replace("\n", " ")
            except OSError:
                pass
            time.sleep(0.1)
        message = f"Not ready within {READY_SECONDS:.0f} s ({seen}). Logs: {self.place.directory / 'log'}."
        raise EmbeddedServerError(message)

    def _announce(self, url: str, credentials: Mapping[str, str]) -> None:
        say(f"\n  admin      {url}/admin/")
        say(f"  API        {url}/api/v1/ (documentation: {url}/api/v1/docs)")
        for name, text in credentials.items():
            if name != "url":
                say(f"  {name:<10} {text}")
        if credentials:
            say(f"  (shown this once; kept in {self.place.credentials})")
        elif self.servers and not self.place.credentials.exists():
            say("  No credentials are kept here; new ones: manage.py changepassword, manage.py create_api_key")
        say(f"ready in {time.monotonic() - self._began:.1f} s; Ctrl-C stops everything")

    def _watch(self) -> None:
        """Look after everything until a signal or a hopeless crash ends it."""
        rotate_at = time.monotonic() + ROTATE_SECONDS
        while True:
            time.sleep(WATCH_SECONDS)
            self._look()
            if time.monotonic() > rotate_at:
                rotate_at = time.monotonic() + ROTATE_SECONDS
                self._rotate_logs()

    def _look(self) -> None:
        """One look at everything: what died is started again."""
        if self._parent.was_interrupted():
            raise Interrupted(signal.SIGINT)
        for name, server in self.servers.items():
            if not server.is_running():
                self._restart(name, server)
        for program in self.programs:
            program.watch(say)
        known = [one.pid for one in (*self.servers.values(), *self.programs) if one.pid is not None]
        collect_orphans(known)

    def _restart(self, name: str, server: Server) -> None:
        """Start a server that died; programs reconnect by themselves, for it keeps its port."""
        url = server.url
        delay = self._crashes[name].delay()
        say(f"{name} ended unexpectedly; starting it again in {delay} s. Log: {server.log}")
        server.stop()
        time.sleep(delay)
        try:
            server.start()
        except EmbeddedServerError as error:
            say(str(error))  # the next round tries again, five times at most
            return
        if server.url != url:
            raise EmbeddedServerError(f"{name} had to move to another port: start make run again.")

    def _rotate_logs(self) -> None:
        """Set aside logs that have grown; their writers append, so they may be cut while open."""
        logs = [program.log for program in self.programs] + [server.log for server in self.servers.values()]
        for log in logs:
            if log.exists() and log.stat().st_size > LOG_LIMIT:
                copy = log.with_name(log.name + ".1")
                copy.touch(mode=0o600)
                shutil.copyfile(log, copy)
                os.truncate(log, 0)
        for server in self.servers.values():
            json_log = server.json_log if isinstance(server, EmbeddedPostgres) else None
            if json_log and json_log.exists() and json_log.stat().st_size > LOG_LIMIT:
                os.truncate(json_log, 0)  # it is read while it grows; the text is what is kept

    def _end(self) -> None:
        """Stop the programs side by side, then the servers with the time that is left of 15 s."""
        self._ending = True
        deadline = time.monotonic() + END_SECONDS
        say("stopping …")
        self._checkpoint()
        stop_all(self.programs)
        end_marked(self.place.directory, seconds=0)
        server = self.servers.get("postgres")
        if isinstance(server, EmbeddedPostgres):
            server.stop(patience=max(3.0, deadline - time.monotonic()))
