"""Real processes for tests: started on free ports, ended by their ids."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.databases import PROJECT


@dataclass
class Running:
    """A process that tests started; `url` where it listens, `log` what it wrote."""

    process: subprocess.Popen[bytes]
    log_path: Path
    url: str = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """SIGKILL to its whole process group, as when the machine is lost."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End it in good order, or kill it after 10 s."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[Running]:
    """`command` in a process group of its own, ended with the block."""
    with tempfile.TemporaryDirectory(prefix="cp-test-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "controlplane.settings", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Running(process, log)
        try:
            yield started
        finally:
            started.stop()


def wait_for(condition: object, *, seconds: float = 20, what: str = "it", running: Running | None = None) -> None:
    """Poll `condition()` until it is true; fails with the process's log when it is not in time."""
    limit = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        dead = running is not None and running.process.poll() is not None
        if dead or time.monotonic() > limit:
            raise AssertionError(f"{what} did not happen.\n{running.log[-4000:] if running else ''}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def gunicorn(*, workers: int = 2, threads: int = 4, **environment: str) -> Iterator[Running]:
    """The web server as in production, on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "controlplane.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--threads", str(threads), "--graceful-timeout", "3"]
    with running(command, **environment) as started:
        started.url = f"http://127.0.0.1:{port}"
        healthz = f"{started.url}/healthz"
        wait_for(lambda: _answers(healthz), what="gunicorn's first answer", seconds=60, running=started)
        yield started


@contextmanager
def celery_worker(*, concurrency: int = 2, beat: bool = False, **environment: str) -> Iterator[Running]:
    """A real worker on this test process's own queue; with `beat` it also sends the periodic tasks."""
    command = [sys.executable, "-m", "celery", "-A", "controlplane", "worker", "--loglevel", "INFO"]
    command += ["--concurrency", str(concurrency), "--without-gossip", "--without-mingle"]
    if beat:
        command += ["--beat"]
    with running(command, LOG_LEVEL="INFO", **environment) as started:
        wait_for(lambda: " ready" in started.log, what="the worker's start", seconds=60, running=started)
        yield started
