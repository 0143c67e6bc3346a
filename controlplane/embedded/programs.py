"""The long-running programs of a run: how each is started, stopped, and started again when it dies."""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controlplane.embedded.account import Account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.postgres import PROJECT
from controlplane.embedded.process import ServerProcess

CRASHES, WINDOW = 5, 60.0  # this many ends within so many seconds, and we give up
BACKOFF = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds before each new start
# Warm, then quick; whatever is left of the group after that is killed. Together they fit into 15 s with the servers.
STOP_SIGNALS = ((signal.SIGTERM, 5.0), (signal.SIGQUIT, 1.5))


class Crashes:
    """Counts how often something died of late and says when to start it again."""

    def __init__(self, name: str, log: Path) -> None:
        """`name` and `log` are for the message when it dies too often."""
        self._name, self._log = name, log
        self._times: deque[float] = deque(maxlen=CRASHES)

    def delay(self) -> float:
        """Note one more end; seconds to wait before the next start. Raises EmbeddedServerError at the fifth."""
        now = time.monotonic()
        self._times.append(now)
        recent = [moment for moment in self._times if now - moment < WINDOW]
        if len(recent) >= CRASHES:
            message = f"{self._name} ended {CRASHES} times within a minute. Log: {self._log}."
            raise EmbeddedServerError(message)
        return BACKOFF[len(recent) - 1]


class Program:
    """One of web, worker, beat, sealer and reaper, in a session of its own."""

    def __init__(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        """Nothing is started yet."""
        self.name, self._argv, self._env, self.log = name, argv, env, log
        self._process: ServerProcess | None = None
        self._crashes = Crashes(name, log)
        self._start_at: float | None = None

    def start(self) -> None:
        """Start it. Call this in the main thread (see ServerProcess)."""
        ourselves = Account(str(os.getuid()), os.getuid(), os.getgid(), switch=False)
        self._start_at = None
        self._process = ServerProcess(
            self._argv, account=ourselves, log=self.log, death_signal="TERM", env=self._env, cwd=PROJECT
        )

    @property
    def pid(self) -> int | None:
        """Its process id, if it was started."""
        return self._process.pid if self._process else None

    def watch(self, say: Callable[[str], None]) -> None:
        """If it has died, say so and start it again when its time has come."""
        if self._start_at is not None:
            if time.monotonic() >= self._start_at:
                self.start()
            return
        if self._process is None or self._process.is_running():
            return
        code = self._process.child.returncode
        self._process.stop(())  # the rest of its session
        delay = self._crashes.delay()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        say(f"{self.name} ended unexpectedly ({how}); starting it again in {delay} s. Log: {self.log}")
        self._start_at = time.monotonic() + delay

    def stop(self) -> None:
        """Warm shutdown, escalating; returns when nothing of its session is left."""
        if self._process is not None:
            self._process.stop(STOP_SIGNALS)
            self._process = None


def programs(env: Mapping[str, str], *, port: int, log: Callable[[str], Path]) -> list[Program]:
    """All programs on the given environment; the web server listens on 127.0.0.1:`port`."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "controlplane.celery"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    web = [python, "-m", "gunicorn", "controlplane.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    web += ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--preload", "--no-control-socket"]
    web += ["--graceful-timeout", "4", "--timeout", "60", "--access-logfile", "-"]
    commands = {
        "web": web,
        "worker": [*celery, "worker", "--concurrency", "4", "--loglevel", "INFO", *quiet],
        "beat": [*celery, "beat", "--loglevel", "INFO", "--pidfile", ""],
        "sealer": [python, "manage.py", "seal_audit_log", "--follow"],
        "reaper": [python, "manage.py", "run_reaper"],
    }
    return [Program(name, argv, env=env, log=log(name)) for name, argv in commands.items()]


def stop_all(running: Sequence[Program]) -> None:
    """Stop them side by side."""
    threads = [threading.Thread(target=program.stop) for program in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
