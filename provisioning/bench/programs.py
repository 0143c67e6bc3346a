"""Web server, worker and beat, as production runs them, on the benchmark's registry."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import current_app
from django.conf import settings

START_SECONDS = 60.0
STOP_SECONDS = 15.0
IDLE_SECONDS, PATIENCE_SECONDS = 3, 300.0
NODE = "bench@localhost"
WEB_WORKERS, WEB_THREADS, WORKERS = 2, 4, 4  # as `make run` starts them
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class Program:
    """A running program: its process and what it wrote."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`. Raises RuntimeError with the end of the log when it ends before, or after 60 s."""
        limit = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None or time.monotonic() > limit:
                end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not start:\n{end}")
            time.sleep(0.1)

    def wrote(self, text: str) -> bool:
        """Whether its log holds `text`."""
        return text in self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it in good order, then whatever is left of its session."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def _running(name: str, command: Sequence[str], directory: Path, **environment: str) -> Iterator[Program]:
    log = directory / f"{name}.log"
    # A killed benchmark must not leave servers behind: the kernel ends them with the thread that starts them.
    guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            [*guard, sys.executable, "-m", *command],
            cwd=settings.BASE_DIR,
            env={**os.environ, "TENANT_APPS": "", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    program = Program(name, process, log)
    try:
        yield program
    finally:
        program.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def web(directory: Path) -> Iterator[tuple[Program, int]]:
    """gunicorn as `make run` starts it (2 workers, 4 threads each) on a free port of 127.0.0.1, and that port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = ["gunicorn", "controlplane.wsgi:application", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS), "--no-control-socket"]
    command += ["--graceful-timeout", "4", "--timeout", "60", "--access-logfile", "-"]
    with _running("web", command, directory) as program:
        program.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"))
        yield program, port


@contextmanager
def workers(directory: Path) -> Iterator[dict[str, int]]:
    """A Celery worker and beat; yields their process ids by name.

    When it starts, beat sends everything it ever sends, the day's and the week's tasks too. That is let through first:
    until the worker has had nothing to do for some seconds, so that what comes meets beat's everyday work only.
    """
    celery = ["celery", "-A", "controlplane.celery"]
    work = [*celery, "worker", "--concurrency", str(WORKERS), "--loglevel", "INFO", "-n", NODE, *QUIET]
    with ExitStack() as stack:
        worker = stack.enter_context(_running("worker", work, directory, LOG_LEVEL="INFO"))
        beat = stack.enter_context(
            _running("beat", [*celery, "beat", "--loglevel", "INFO", "--pidfile", ""], directory, LOG_LEVEL="INFO")
        )
        worker.wait_until(lambda: worker.wrote(" ready"))
        beat.wait_until(lambda: beat.wrote("Sending due task"))
        _settle()
        yield {"worker": worker.process.pid, "beat": beat.process.pid}


def _settle() -> None:
    limit, idle = time.monotonic() + PATIENCE_SECONDS, 0
    while idle < IDLE_SECONDS:
        if time.monotonic() > limit:
            raise RuntimeError(f"The worker was still at work {PATIENCE_SECONDS:g} s after beat's start.")
        time.sleep(1)
        idle = 0 if _at_work() else idle + 1


def _at_work() -> bool:
    """Whether a message waits, or the worker has one; also when it does not say."""
    with redis.Redis.from_url(settings.CELERY_BROKER_URL) as broker:
        if broker.llen(settings.CELERY_TASK_DEFAULT_QUEUE):
            return True
    worker = current_app.control.inspect(destination=[NODE])
    told = [worker.active(), worker.reserved()]
    return not all(told) or any(tasks for found in told if found for tasks in found.values())
