"""Backups in a directory of this machine (or of a file system mounted here).

An object is written under a hidden name beside its place, flushed to disk, renamed, and its directory flushed: after a
crash at any moment there is the whole object, or none and a hidden file that `sweep` takes away.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from backups.storage.base import (
    LockUnsupported,
    NotStored,
    StorageError,
    StorageFull,
    Stored,
    check_key,
    check_prefix,
)

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part\Z")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ATTEMPTS = 100


@contextmanager
def _explained(key: str) -> Iterator[None]:
    """The operating system's errors as ours, naming the key."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotStored(f"{key} is not in the storage.") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{key} does not fit into the storage: {error.strerror}.") from error
        raise StorageError(f"{key}: {error.strerror or error}.") from error


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directories(root: Path, path: Path) -> None:
    """`path` below `root`, each new directory durable in the one above it."""
    if path.is_dir():
        return
    if path != root:
        _make_directories(root, path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=path == root)
        _flush_directory(path.parent)


class LocalWriter:
    """One object being written to a directory."""

    def __init__(self, root: Path, key: str) -> None:
        self._root, self._key = root, key
        self._target = root / key
        self._partial = self._target.with_name(f".{self._target.name}.{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        with _explained(self._key):
            # Whoever deletes the last object of a directory takes the directory away: then it is made once more.
            for attempt in range(_ATTEMPTS):
                try:
                    _make_directories(self._root, self._target.parent)
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                    self._file = os.fdopen(os.open(self._partial, flags, 0o600), "wb", buffering=0)
                    break
                except FileNotFoundError:
                    if attempt == _ATTEMPTS - 1:
                        raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(OSError):
                self._partial.unlink()
            _remove_empty(self._root, self._target.parent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        if self._file is None:
            raise StorageError(f"{self._key} is not open.")
        view = memoryview(data).cast("B")
        with _explained(self._key):
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        """To disk, then to its name, then the name to disk."""
        if self._file is None:
            raise StorageError(f"{self._key} is not open.")
        with _explained(self._key):
            os.fsync(self._file.fileno())
            self._partial.replace(self._target)
            _flush_directory(self._target.parent)
        self._file.close()
        self._file = None


class _Slice(io.RawIOBase):
    """`length` bytes of a file from where it stands."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: self._left]
        count: int = self._file.readinto(view) if view else 0  # type: ignore[attr-defined]
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class LocalStorage:
    """Backups below the directory `root`, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"LocalStorage({str(self.root)!r})"

    def writer(self, key: str) -> LocalWriter:
        """A new object."""
        return LocalWriter(self.root, check_key(key))

    def reader(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """A stream of an object's bytes."""
        with _explained(key):
            file = (self.root / check_key(key)).open("rb", buffering=0)
            if start:
                file.seek(start)
        return cast(BinaryIO, file if length is None else io.BufferedReader(_Slice(cast(BinaryIO, file), length)))

    def size(self, key: str) -> int:
        """An object's size in bytes."""
        with _explained(key):
            return (self.root / check_key(key)).stat().st_size

    def list(self, prefix: str) -> Iterator[Stored]:
        """The objects below a prefix."""
        start = self.root / check_prefix(prefix)
        for path in _files(start):
            if path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):  # deleted meanwhile
                stat = path.stat()
                key = path.relative_to(self.root).as_posix()
                yield Stored(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def delete(self, key: str) -> None:
        """Take an object away, and directories that are empty then."""
        path = self.root / check_key(key)
        with suppress(NotStored), _explained(key):
            path.unlink()
            _flush_directory(path.parent)
        _remove_empty(self.root, path.parent)

    def lock(self, key: str, until: datetime) -> None:
        """A directory keeps nobody from deleting who may write there."""
        raise LockUnsupported(hint="Use an S3 bucket with object lock for copies that must outlive an intruder.")

    def sweep(self, before: datetime) -> Sequence[str]:
        """Take away what dead writers left."""
        gone: list[str] = []
        for path in _files(self.root):
            match = _UNFINISHED.match(path.name)
            with suppress(FileNotFoundError):
                if match and path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    gone.append((path.parent / match.group(1)).relative_to(self.root).as_posix())
                    _remove_empty(self.root, path.parent)
        return gone


def _files(start: Path) -> Iterator[Path]:
    """Every file below a directory (or that file), sorted; what vanishes meanwhile is left out."""
    if start.is_file():
        yield start
        return
    try:
        entries = sorted(start.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    # As keys sort: `a-b` before `a/b`, though the directory `a` comes first by name.
    for path in sorted(entries, key=lambda p: p.name + "/" if p.is_dir() else p.name):
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _remove_empty(root: Path, path: Path) -> None:
    """Directories below `root`, upwards from `path`, as long as they are empty."""
    while path != root and root in path.parents:
        try:
            path.rmdir()
        except OSError:
            return
        path = path.parent
