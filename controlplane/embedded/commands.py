"""The one-off management commands of a start; each writes its output to its own log."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
        self._relayed = 0
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

    def finish(self, relay: Callable[[str], None] | None = None) -> str:
        """Wait for the end; returns the standard output. Raises EmbeddedServerError with the reason of a failure.

        `relay` gets each line of the log as it comes, for commands with several steps (and little output).
        """
        while relay is not None and self._child.poll() is None:
            self._pass_on(relay)
            time.sleep(0.05)
        output, _ = self._child.communicate()
        if relay is not None:
            self._pass_on(relay)
        if self._child.returncode != 0:
            lines = [line for line in read_since(self._log, self._offset).splitlines() if line.strip()]
            reason = lines[-1].strip() if lines else f"exit code {self._child.returncode}"
            raise EmbeddedServerError(f"manage.py {self.name} failed: {reason} Log: {self._log}.")
        return output

    def _pass_on(self, relay: Callable[[str], None]) -> None:
        lines = read_since(self._log, self._offset).split("\n")[:-1]
        for line in lines[self._relayed :]:
            relay(line)
        self._relayed = len(lines)

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


class StaticFiles:
    """Static files collected and compressed beside other steps, if anything about them has changed."""

    def __init__(self, running: Command | None, stamp: Path, state: str) -> None:
        """`running` is None when there is nothing to do."""
        self._running, self._stamp, self._state = running, stamp, state

    def finish(self) -> None:
        """Wait for the end; raises EmbeddedServerError when it failed."""
        if self._running is not None:
            self._running.finish()
            self._stamp.write_text(self._state, encoding="ascii")


def _static_state() -> str:
    """A digest of what static files are made of: the locked packages and the static directories here."""
    digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes())
    for path in sorted(PROJECT.glob("*/static/**/*")):
        status = path.stat()
        digest.update(f"{path.relative_to(PROJECT)}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def static_files(env: Mapping[str, str], log: Path) -> Iterator[StaticFiles]:
    """Collect static files into STATIC_ROOT of `env` while the block runs."""
    root, state = Path(env["STATIC_ROOT"]), _static_state()
    stamp = root / ".state"
    if stamp.exists() and stamp.read_text(encoding="ascii") == state:
        yield StaticFiles(None, stamp, state)
        return
    arguments = ("collectstatic", "--no-input", "--clear", "--verbosity", "0")
    root.mkdir(parents=True, exist_ok=True)
    with command(*arguments, env=env, log=log) as running:
        yield StaticFiles(running, stamp, state)


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
