"""Free loopback ports, remembered in a file so that connection strings survive a restart."""

import contextlib
import errno
import random
import socket
from pathlib import Path

# Below Linux's default ephemeral range (32768–60999): an outgoing connection never sits on a remembered port.
FIRST, LAST = 20000, 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def pick() -> int:
    """A port nobody listens on at this moment (somebody may take it the next; starters retry)."""
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randint(FIRST, LAST)
        if is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remembered_number(path: Path) -> int | None:
    """The positive number written in `path`, None when there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        number = int(path.read_text(encoding="ascii"))
        if number > 0:
            return number
    return None


def remembered(path: Path) -> int | None:
    """The port written in `path`, None when there is none or it makes no sense."""
    port = remembered_number(path)
    return port if port is not None and port < 65536 else None


def remember(path: Path, number: int) -> None:
    """Write `number` into `path`."""
    path.write_text(f"{number}\n", encoding="ascii")
