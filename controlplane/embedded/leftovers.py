"""Find and end processes of a run by the mark in their environment: proof that they are ours, children included."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from controlplane.embedded.process import is_alive

MARK = "CONTROLPLANE_LOCAL"  # every process of `make run` carries it; its value is the run's directory


def marked(home: Path) -> Iterator[int]:
    """Process ids, other than our own, of processes started by a run in `home`."""
    wanted = f"{MARK}={home}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0") and is_alive(int(entry.name)):
                    yield int(entry.name)


def end_marked(home: Path, *, seconds: float) -> int:
    """End what a run in `home` left: SIGTERM, then after `seconds` SIGKILL; returns how many there were."""
    found = set(marked(home))
    deadline = time.monotonic() + seconds
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while any(marked(home)) and time.monotonic() < deadline:
            time.sleep(0.1)
        deadline += 2
    return len(found)


class Parent:
    """The make that started us. It keeps a SIGINT sent to it alone (not by Ctrl-C, which reaches us too) to itself
    and waits for us for ever; what betrays it is that it no longer catches that signal."""

    def __init__(self) -> None:
        """Looks at who started us."""
        self._pid = os.getppid()
        self._is_make = self._read("comm").strip() in ("make", "gmake") and self._catches_interrupt()

    def _read(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._pid}/{name}").read_text(encoding="utf-8", errors="replace")
        return ""

    def _catches_interrupt(self) -> bool:
        _, found, mask = self._read("status").partition("SigCgt:")
        return bool(found) and bool(int(mask.split()[0], 16) >> (signal.SIGINT - 1) & 1)

    def was_interrupted(self) -> bool:
        """Whether it is make and has got a SIGINT."""
        return self._is_make and not self._catches_interrupt()
