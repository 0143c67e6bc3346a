"""The one-off management commands of a start; each writes its output to its own log."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import open_log, read_since
from controlplane.embedded.postgres import PROJECT


class Command:
    """A running `manage.py` command."""

    def __init__(self, *arguments: str, env: Mapping[str, str], log: Path) -> None:
        """Start it; its standard output is kept for `finish()`, the rest goes to `log`."""
        self.name, self._log = arguments[0], log
        self._offset = log.stat().st_size if log.exists() else 0
        with open_log(log) as handle:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "manage.py", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=handle,
                env=dict(env),
                cwd=PROJECT,
                text=True,
                start_new_session=True,
            )

    def finish(self) -> str:
        """Wait for the end; returns the standard output. Raises EmbeddedServerError with the reason of a failure."""
        output, _ = self._child.communicate()
        if self._child.returncode != 0:
            lines = [line for line in read_since(self._log, self._offset).splitlines() if line.strip()]
            reason = lines[-1].strip() if lines else f"exit code {self._child.returncode}"
            raise EmbeddedServerError(f"manage.py {self.name} failed: {reason} Log: {self._log}.")
        return output

    def kill(self) -> None:
        """End it now, with all it started; harmless when it has ended."""
        if self._child.poll() is None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(1)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


@contextlib.contextmanager
def command(*arguments: str, env: Mapping[str, str], log: Path) -> Iterator[Command]:
    """A command that runs beside the block and is killed if the block is left before it was finished."""
    running = Command(*arguments, env=env, log=log)
    try:
        yield running
    finally:
        running.kill()


@contextlib.contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the name of a step and how long it took, when it succeeded."""
    began = time.monotonic()
    yield
    say(f"  {name} … {time.monotonic() - began:.1f} s")


def say(line: str) -> None:
    """Print one line now; a terminal that is gone is no reason to stop, or not to stop in order."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
