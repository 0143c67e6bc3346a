"""A storage that is not written to faster than it may be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Self

from backups.storage.base import Storage, Stored, Writer

BURST_SECONDS = 0.25


class Pace:
    """So many bytes a second, over all threads that share it."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, count: int) -> None:
        """Returns when `count` more bytes may go."""
        with self._lock:
            now = time.monotonic()
            begin = max(self._free_at, now - BURST_SECONDS)
            self._free_at = begin + count / self._rate
            pause = self._free_at - now
        if pause > 0:
            time.sleep(pause)


class _PacedWriter:
    def __init__(self, writer: Writer, pace: Pace) -> None:
        self._writer, self._pace = writer, pace

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append, when it may."""
        self._pace.wait(memoryview(data).nbytes)
        self._writer.write(data)

    def commit(self) -> None:
        """As the storage does."""
        self._writer.commit()


class PacedStorage:
    """Another storage; what is written to it is paced, and nothing else."""

    def __init__(self, storage: Storage, bytes_per_second: int) -> None:
        self.storage = storage
        self._pace = Pace(bytes_per_second)

    def __repr__(self) -> str:
        return repr(self.storage)

    def writer(self, key: str) -> Writer:
        """A new object."""
        return _PacedWriter(self.storage.writer(key), self._pace)

    def reader(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """As the storage does; a restore waits for nothing."""
        return self.storage.reader(key, start, length)

    def size(self, key: str) -> int:
        """As the storage does."""
        return self.storage.size(key)

    def list(self, prefix: str) -> Iterator[Stored]:
        """As the storage does."""
        return self.storage.list(prefix)

    def delete(self, key: str) -> None:
        """As the storage does."""
        self.storage.delete(key)

    def lock(self, key: str, until: datetime) -> None:
        """As the storage does."""
        self.storage.lock(key, until)

    def sweep(self, before: datetime) -> Sequence[str]:
        """As the storage does."""
        return self.storage.sweep(before)
