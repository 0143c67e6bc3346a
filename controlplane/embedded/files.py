"""Private files, locks and log tails. Every secret of an embedded server lives in a 0600 file."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from controlplane.embedded.errors import EmbeddedServerError

LOG_LIMIT = 10 * 1024 * 1024  # bytes; a log larger than this is set aside when it is next opened


def write_private(path: Path, content: str, *, owner: tuple[int, int] | None = None) -> None:
    """Replace `path` by a 0600 file, atomically; `owner` is a (uid, gid) to hand it to."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(content)
        if owner is not None:
            os.fchown(handle.fileno(), *owner)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def kept_secret(path: Path) -> str:
    """The random secret stored in `path`, made (256 bits) on first use."""
    if path.exists():
        value = path.read_text(encoding="utf-8").strip()
        if value:
            return value
    value = secrets.token_urlsafe(32)
    write_private(path, value + "\n")
    return value


def open_log(path: Path) -> IO[bytes]:
    """Open a 0600 log for appending; a large one is first moved to `<name>.1`."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def read_since(path: Path, offset: int, *, limit: int = 64 * 1024) -> str:
    """What was written to `path` after `offset`, at most the last `limit` bytes of it."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(offset, size - limit))
        return handle.read().decode("utf-8", "replace")
    return ""


class HomeLock:
    """An advisory lock on a directory, held as long as the holding process lives (even if it is killed)."""

    def __init__(self, path: Path) -> None:
        """`path` is the lock file; the holder's pid is written into it."""
        self.path = path
        self._handle: IO[str] | None = None

    def acquire(self, what: str) -> None:
        """Take the lock at once; raises EmbeddedServerError naming the holder if someone else has it."""
        if self._handle is not None:
            return
        handle = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = handle.read().strip() or "unknown"
            handle.close()
            message = f"{what} is already in use by process {holder}; stop that one first."
            raise EmbeddedServerError(message) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


@contextlib.contextmanager
def held_lock(path: Path, what: str) -> Iterator[None]:
    """Hold `path` as a HomeLock for the block."""
    lock = HomeLock(path)
    lock.acquire(what)
    try:
        yield
    finally:
        lock.release()
