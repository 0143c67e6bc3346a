"""One server process: started in its own session, stopped by escalating signals, found again after a crash."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from controlplane.embedded.account import Account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import open_log

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment free of PG*, locale and other variables that would change what a server does."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": "/", **kept, **(extra or {})}


def check_libraries(program: Path) -> None:
    """Raise EmbeddedServerError, naming it, when a system library `program` needs is missing or too old."""
    if not program.is_file():
        raise EmbeddedServerError(f"The program {program} does not exist; set POSTGRES_BIN or install it.")
    try:
        result = subprocess.run(
            ["ldd", str(program)], capture_output=True, text=True, env=clean_environment(), timeout=20
        )
    except FileNotFoundError:
        return  # no ldd (not glibc): starting it will tell
    output = result.stdout + result.stderr
    version = re.search(r"version [`']([A-Z_]+[0-9.]+)' not found", output)
    if version:
        message = f"{program.name} needs {version[1]}, this system is older; use Debian 12 or set POSTGRES_BIN."
        raise EmbeddedServerError(message)
    missing = re.search(r"^\s*(\S+) => not found", output, re.MULTILINE)
    if missing:
        message = f"{program.name} needs the system library {missing[1]}, which is missing; install its package."
        raise EmbeddedServerError(message)


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] not in ("Z", "X")


def works_in(pid: int, directory: Path) -> bool:
    """Whether the live process `pid` has `directory` as its working directory (servers change to theirs)."""
    try:
        return is_alive(pid) and Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except OSError:
        return False


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until process `pid`, no child of ours, has ended; False when it is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end_orphan(pid: int, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """End a server left over by a killed parent: each signal in turn with its waiting time in seconds."""
    for number, seconds in signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_gone(pid, seconds):
            return
    raise EmbeddedServerError(f"The left-over server process {pid} does not end; end it by hand.")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none of them stays as a zombie.

    In a container nobody else may collect them.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def collect_orphans(known: Collection[int]) -> None:
    """Collect ended children that are not among the `known` process ids (those are waited for elsewhere)."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in known:
                return
            os.waitpid(ended.si_pid, 0)


class ServerProcess:
    """A server that is our child, in a session of its own (the terminal's Ctrl-C does not reach it)."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        account: Account,
        log: Path,
        death_signal: str,
        env: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
    ) -> None:
        """Start `argv`; its output goes to `log`. Must be called in a thread that lives as long as we do:
        the kernel sends `death_signal` when the starting *thread* ends."""
        with open_log(log) as handle:
            self.child = subprocess.Popen(
                account.command(list(argv), death_signal=death_signal),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                env=clean_environment() if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The server's process id (setpriv replaces itself by the server)."""
        return self.child.pid

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.child.poll() is None

    def stop(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal and wait its seconds until the process has ended, at last SIGKILL to its session."""
        for number, seconds in signals:
            if not self.is_running():
                return
            self.child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(seconds)
                return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
