"""One object of a bucket being written, and one being read."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from backups.storage.base import NotStored, StorageError, StorageFull
from backups.storage.s3_errors import explained

if TYPE_CHECKING:
    from backups.storage.s3 import S3Storage

SMALLEST_PART = 5 * 1024 * 1024  # S3 refuses smaller ones, but for the last
MAX_PARTS = 10_000
READ_ATTEMPTS = 5
PAUSE_SECONDS = 0.2


class S3Writer:
    """One object being written to a bucket; at most one part of it is in memory."""

    def __init__(self, storage: S3Storage, key: str) -> None:
        self._storage, self._key = storage, key
        self._name = storage.name(key)
        self._buffer = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self._open = False
        self._size = max(storage.options.part_bytes, SMALLEST_PART)

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._upload:
            with suppress(StorageError), explained(f"giving up {self._key}", self._storage.place):  # `sweep` does
                self._storage.client.abort_multipart_upload(**self._name, UploadId=self._upload)
            self._upload = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; a part that is full is sent."""
        self._check_open()
        self._buffer += data
        while len(self._buffer) >= self._size:
            part = bytes(memoryview(self._buffer)[: self._size])
            del self._buffer[: self._size]
            self._send(part)

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError(f"{self._key} is not open.")

    def _send(self, part: bytes) -> None:
        client, place = self._storage.client, self._storage.place
        if len(self._parts) >= MAX_PARTS:
            raise StorageFull(f"{place}/{self._key} is larger than {MAX_PARTS} parts.")
        with explained(f"writing {self._key}", place):
            if not self._upload:
                self._upload = client.create_multipart_upload(**self._name, ChecksumAlgorithm="CRC32")["UploadId"]
            number = len(self._parts) + 1
            sent = client.upload_part(
                **self._name, UploadId=self._upload, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32"
            )
        found = {"PartNumber": number, "ETag": sent["ETag"]}
        self._parts.append(found | ({"ChecksumCRC32": crc} if (crc := sent.get("ChecksumCRC32")) else {}))

    def commit(self) -> None:
        """Send what is left and complete the upload; then it is there as a whole."""
        self._check_open()
        client, place = self._storage.client, self._storage.place
        if not self._upload:
            with explained(f"writing {self._key}", place):
                client.put_object(**self._name, Body=bytes(self._buffer), ChecksumAlgorithm="CRC32")
        else:
            if self._buffer:
                self._send(bytes(self._buffer))
            with explained(f"completing {self._key}", place):
                client.complete_multipart_upload(
                    **self._name, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
                )
        self._buffer.clear()
        self._upload, self._open = "", False


class S3Reader(io.RawIOBase):
    """The bytes from `start` to `end` of an object. An answer that ends early is asked for again from there."""

    def __init__(self, storage: S3Storage, key: str, start: int, end: int) -> None:
        self._storage, self._key, self._at, self._end = storage, key, start, end
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._at)
        if wanted <= 0:
            return 0
        for attempt in range(READ_ATTEMPTS):
            try:
                data = self._read(wanted)
            except NotStored:
                raise
            except StorageError as error:
                if attempt == READ_ATTEMPTS - 1 or not error.extra.get("passing"):
                    raise
                data = b""
            if data:
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            self._forget()
            time.sleep(PAUSE_SECONDS * 2**attempt)
        raise StorageError(f"{self._storage.place}/{self._key} ends early, at byte {self._at} of {self._end}.")

    def _read(self, wanted: int) -> bytes:
        with explained(f"reading {self._key}", self._storage.place):
            if self._body is None:
                span = f"bytes={self._at}-{self._end - 1}"
                answer = self._storage.client.get_object(**self._storage.name(self._key), Range=span)
                self._body = answer["Body"]
            return cast(bytes, self._body.read(wanted))

    def _forget(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._forget()
        super().close()
