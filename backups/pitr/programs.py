"""pgBackRest and PostgreSQL's own programs: found, run as the server's account, and told apart by what they say."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backups.pitr.account import Account
from backups.pitr.errors import NoSpace, PitrUnavailable, RecoveryFailed
from tenants.exceptions import ControlPlaneError

POLL_SECONDS = 0.2
END_SECONDS = 10.0
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH")
INSTALL = "Install it: apt-get install pgbackrest."
_ERROR = re.compile(r"ERROR: \[(\d+)\]: (.*)")


class Refused(RecoveryFailed):
    """pgBackRest ended with an error; `number` is its own code for that."""

    def __init__(self, message: str, *, number: int, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.number = number


def pgbackrest() -> str:
    """Where pgBackRest is. Raises PitrUnavailable."""
    found = shutil.which("pgbackrest")
    if found is None:
        raise PitrUnavailable("pgBackRest is not installed.", hint=INSTALL)
    return found


@functools.cache
def compression(program: str) -> str:
    """The best compression that this pgBackRest was built with."""
    linked = subprocess.run(  # noqa: S603
        ["/usr/bin/ldd", program], capture_output=True, text=True
    ).stdout
    return "zst" if "libzstd" in linked else "lz4" if "liblz4" in linked else "gz"


def version(program: str) -> str:
    """As it calls itself, e.g. `2.45`."""
    said = subprocess.run([program, "version"], capture_output=True, text=True, timeout=20).stdout  # noqa: S603
    return said.strip().rpartition(" ")[2]


def environment(passfile: Path | None = None) -> dict[str, str]:
    """Free of PG* and PGBACKREST_* variables, which would change what the programs do."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    given = {"PGPASSFILE": str(passfile)} if passfile else {}
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": "/", **kept, **given}


def run(
    account: Account, argv: Sequence[str], *, passfile: Path | None = None, alive: Callable[[], None] = lambda: None
) -> str:
    """What pgBackRest writes. `alive` is called several times a second; what it raises ends the program.

    Raises Refused with what it says is wrong, NoSpace.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(  # noqa: S603
            account.command(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/",
            env=environment(passfile), start_new_session=True,
        )  # fmt: skip
        try:
            while child.poll() is None:
                alive()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
        finally:
            end(child)
        out.seek(0)
        err.seek(0)
        said, wrong = out.read(), err.read()
    if child.returncode != 0:
        raise _refusal(f"{wrong}\n{said}", child.returncode)
    return said


def end(child: subprocess.Popen[Any], first: signal.Signals = signal.SIGTERM) -> None:
    """End a program that we have started, with all that it has started in its session."""
    if child.poll() is not None:
        return
    for number in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_SECONDS)
            return


def _refusal(text: str, code: int) -> ControlPlaneError:
    found = _ERROR.search(text)
    message = found[2].strip().rstrip(".") if found else (text.strip().splitlines() or [f"exit code {code}"])[-1]
    if "No space left" in text:
        return NoSpace(f"pgBackRest: {message[:300]}.", hint="Make room on the disk, and try again.")
    hints = [line.strip()[6:] for line in text.splitlines() if line.strip().startswith("HINT: ")]
    return Refused(
        f"pgBackRest: {message[:400]}.", number=int(found[1]) if found else code, hint=" ".join(hints[:1]) or None
    )


def parsed(text: str) -> Any:
    """JSON that pgBackRest wrote. Raises RecoveryFailed."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecoveryFailed("pgBackRest did not answer in JSON.") from error


def programs_of(data: Path) -> Path:
    """The directory of the programs that run this data directory now. Raises PitrUnavailable when nothing does."""
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        return Path(f"/proc/{pid}/exe").readlink().parent
    except (OSError, ValueError) as error:
        raise PitrUnavailable(f"No PostgreSQL runs in {data}.", hint="Start it first.") from error


def using(directory: Path) -> list[int]:
    """Processes that work in `directory` or name it in their arguments (its name is unique)."""
    found, needle = [], os.fsencode(directory)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            if needle in words or os.fsencode((entry / "cwd").readlink()).startswith(needle):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end_all(directory: Path) -> None:
    """End whatever uses a scratch directory, whoever started it. Raises RecoveryFailed."""
    deadline = time.monotonic() + END_SECONDS
    while left := using(directory):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RecoveryFailed(f"Processes in {directory} do not end: {left}.")
        time.sleep(0.05)
