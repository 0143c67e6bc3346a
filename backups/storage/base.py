"""What the engine asks of a place where backups are kept: write whole objects, read pieces of them, list, delete, lock.

A key is a relative path of at least one component, such as `<tenant id>/<backup id>/manifest.json`. An object appears
under its key complete or not at all: until `commit` nothing is seen there, and what was there before stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from tenants.exceptions import ControlPlaneError, InvalidInput

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?"  # no dot first or last: neither hidden nor `..`
_KEY = re.compile(rf"{_PART}(?:/{_PART}){{0,7}}\Z")
_PREFIX = re.compile(rf"(?:{_PART}(?:/{_PART}){{0,7}}/?)?\Z")


class StorageError(ControlPlaneError):
    """The storage could not be written or read."""

    code, status = "storage_error", 502


class StorageFull(StorageError):
    """The storage is full."""

    code, status = "storage_full", 507


class NotStored(StorageError):
    """The storage has no such object."""

    code, status = "not_stored", 404


class Locked(StorageError):
    """A retention lock forbids deleting this object yet."""

    code, status = "storage_locked", 409


class LockUnsupported(StorageError):
    """This storage cannot lock objects against deletion."""

    code, status = "lock_unsupported", 422


@dataclass(frozen=True)
class Stored:
    """One object: its key, its size in bytes, and when it was put there (with time zone)."""

    key: str
    size: int
    modified: datetime


class Writer(Protocol):
    """One object being written, as a context manager. Leaving the block without `commit` leaves nothing behind."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. The caller may reuse the buffer afterwards. Raises StorageError."""

    def commit(self) -> None:
        """Make the object durable, then visible under its key, in this order. Raises StorageError."""


class Storage(Protocol):
    """A place for backups. All methods may be called from several threads; a writer or reader belongs to one."""

    def writer(self, key: str) -> Writer:
        """A new object; one that is there is replaced at `commit`. Raises StorageError."""

    def reader(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """A stream of the object's bytes from `start`, at most `length` of them. Close it. Raises NotStored."""

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises NotStored."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """The complete objects whose keys begin with the components of `prefix`, in the order of keys ("" for all)."""

    def delete(self, key: str) -> None:
        """Take the object away; one that is gone is fine. Raises Locked where a retention lock forbids it."""

    def lock(self, key: str, until: datetime) -> None:
        """Forbid deleting the object before `until`, on the storage itself. Raises LockUnsupported or NotStored."""

    def sweep(self, before: datetime) -> Sequence[str]:
        """Take away what writers that died left unfinished before a moment; returns the keys they were meant for."""


def check_key(key: str) -> str:
    """`key`, if it is one. Raises InvalidInput for what could lead elsewhere."""
    if not _KEY.match(key):
        raise InvalidInput(f"Not a key of a storage: {key!r}.", field="key")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` without its last slash, if keys can begin with it. Raises InvalidInput."""
    if not _PREFIX.match(prefix):
        raise InvalidInput(f"Not a prefix of keys: {prefix!r}.", field="prefix")
    return prefix.rstrip("/")
