"""Backups in an S3-compatible bucket.

A small object is put at once, a large one in parts of a multipart upload that is completed at `commit`: until then
nothing is seen under its key. Each part carries a CRC that the server checks. What may pass (500, 503, timeouts, a
stream that ends early) is tried again; what may not (403, no such bucket) is said at once, with the storage's words and
never with a key or a signature in them.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from backups.storage.base import (
    Locked,
    LockUnsupported,
    NotStored,
    StorageError,
    StorageFull,
    Stored,
    check_key,
    check_prefix,
)

PART_BYTES = 16 * 1024 * 1024
SMALLEST_PART = 5 * 1024 * 1024  # S3 refuses smaller ones, but for the last
MAX_PARTS = 10_000
ATTEMPTS = 5
READ_ATTEMPTS = 5
PAUSE_SECONDS = 0.2
_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
_DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"}
_NO_LOCK = {"InvalidRequest", "ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"}


@dataclass(frozen=True)
class S3Options:
    """Where a bucket is, and who we are there. The secret never appears in `repr`."""

    bucket: str
    prefix: str = ""
    endpoint_url: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    addressing_style: str = "auto"
    lock_mode: str = ""  # GOVERNANCE or COMPLIANCE
    timeout_seconds: float = 20.0
    part_bytes: int = PART_BYTES

    def __repr__(self) -> str:
        return f"S3Options(s3://{self.bucket}/{self.prefix})"


def _client(options: S3Options) -> Any:
    import boto3  # slow to import, and not everybody's storage
    from botocore.config import Config

    config = Config(
        connect_timeout=min(options.timeout_seconds, 10.0),
        read_timeout=options.timeout_seconds,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        s3={"addressing_style": options.addressing_style},
        max_pool_connections=16,
    )
    keys = {
        "aws_access_key_id": options.access_key_id or None,
        "aws_secret_access_key": options.secret_access_key or None,
    }
    session = boto3.session.Session(**keys)
    return session.client(
        "s3", endpoint_url=options.endpoint_url or None, region_name=options.region or None, config=config
    )


@contextmanager
def _explained(what: str, place: str) -> Iterator[None]:
    """boto3's errors as ours: what was tried, and what the storage said."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _translated(error.response, what, place) from error
    except (BotoCoreError, HTTPClientError, HTTPError) as error:
        hint = "Is its address right, and is it up?"
        raise StorageError(f"{place}: {what} failed ({type(error).__name__}).", hint=hint, passing=True) from error


def _translated(response: Any, what: str, place: str) -> StorageError:
    said = response.get("Error", {})
    code = str(said.get("Code", "")) or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    text = f"{place}: {what}: {code}."
    if code in _MISSING:
        return NotStored(text)
    if code in _DENIED:
        return StorageError(text, code="storage_denied", hint="Its access key may not do this; see docs/backups.md.")
    if code in _FULL:
        return StorageFull(text)
    if code == "NoSuchBucket":
        return StorageError(text, code="storage_missing", hint="The bucket is made outside of the control plane.")
    return StorageError(text, passing=response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500)


class S3Storage:
    """Backups below a prefix of a bucket."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self.client = _client(options)
        self.place = f"s3://{options.bucket}/{options.prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"S3Storage({self.place!r})"

    def name(self, key: str) -> dict[str, str]:
        """An object's bucket and full key, as boto3 takes them."""
        full = f"{self.options.prefix.strip('/')}/{check_key(key)}".lstrip("/")
        return {"Bucket": self.options.bucket, "Key": full}

    def writer(self, key: str) -> S3Writer:
        """A new object."""
        return S3Writer(self, key)

    def reader(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """A stream of an object's bytes; where it breaks off it is taken up again."""
        size = self.size(key)
        end = size if length is None else min(size, start + length)
        return cast(BinaryIO, io.BufferedReader(_Stream(self, key, min(start, end), end), 1024 * 1024))

    def size(self, key: str) -> int:
        """An object's size in bytes."""
        with _explained(f"looking for {key}", self.place):
            return int(self.client.head_object(**self.name(key))["ContentLength"])

    def list(self, prefix: str) -> Iterator[Stored]:
        """The objects below a prefix; of uploads that are under way nothing."""
        own = f"{self.options.prefix.strip('/')}/".lstrip("/")
        wanted = check_prefix(prefix)
        pages = self.client.get_paginator("list_objects_v2")
        with _explained("listing", self.place):
            for page in pages.paginate(Bucket=self.options.bucket, Prefix=own + wanted):
                for row in page.get("Contents", []):
                    key = row["Key"][len(own) :]
                    if not wanted or key == wanted or key.startswith(f"{wanted}/"):
                        yield Stored(key, int(row["Size"]), row["LastModified"].astimezone(UTC))

    def delete(self, key: str) -> None:
        """Take an object away, all versions of it where the bucket keeps any."""
        name = self.name(key)
        with suppress(NotStored):
            for version in self._versions(name):
                self._delete_version(key, name, version)

    def _versions(self, name: dict[str, str]) -> Iterable[str | None]:
        with _explained(f"listing versions of {name['Key']}", self.place):
            found = []
            pages = self.client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=name["Bucket"], Prefix=name["Key"]):
                rows = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                found += [row["VersionId"] for row in rows if row["Key"] == name["Key"]]
            return [None if version == "null" else version for version in found]

    def _delete_version(self, key: str, name: dict[str, str], version: str | None) -> None:
        chosen = {**name, "VersionId": version} if version else name
        try:
            with _explained(f"deleting {key}", self.place):
                self.client.delete_object(**chosen)
        except StorageError as error:
            until = self._locked_until(chosen)
            if until is not None and until > datetime.now(UTC):
                raise Locked(f"{self.place}/{key} is locked until {until:%Y-%m-%d %H:%M} UTC.", until=until) from error
            raise

    def _locked_until(self, chosen: dict[str, str]) -> datetime | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client.head_object(**chosen)["ObjectLockRetainUntilDate"]
        except (BotoCoreError, ClientError, KeyError):
            return None
        return cast(datetime, found)

    def lock(self, key: str, until: datetime) -> None:
        """Object lock, in the mode of the options (governance when they say none)."""
        mode = self.options.lock_mode or "GOVERNANCE"
        try:
            with _explained(f"locking {key}", self.place):
                self.client.put_object_retention(
                    **self.name(key), Retention={"Mode": mode, "RetainUntilDate": until.astimezone(UTC)}
                )
        except NotStored:
            raise
        except StorageError as error:
            if any(f": {code}." in error.message for code in _NO_LOCK):
                raise LockUnsupported(
                    f"{self.place} locks nothing: {error.message}",
                    hint="Object lock is switched on when a bucket is made.",
                ) from error
            raise

    def sweep(self, before: datetime) -> Sequence[str]:
        """End multipart uploads that nobody completes."""
        own = f"{self.options.prefix.strip('/')}/".lstrip("/")
        gone = []
        with _explained("listing uploads", self.place):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.options.bucket, Prefix=own):
                for row in page.get("Uploads", []):
                    if row["Initiated"].astimezone(UTC) < before:
                        self.client.abort_multipart_upload(
                            Bucket=self.options.bucket, Key=row["Key"], UploadId=row["UploadId"]
                        )
                        gone.append(row["Key"][len(own) :])
        return gone


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
            with suppress(StorageError), _explained(f"giving up {self._key}", self._storage.place):  # `sweep` does
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
        with _explained(f"writing {self._key}", place):
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
            with _explained(f"writing {self._key}", place):
                client.put_object(**self._name, Body=bytes(self._buffer), ChecksumAlgorithm="CRC32")
        else:
            if self._buffer:
                self._send(bytes(self._buffer))
            with _explained(f"completing {self._key}", place):
                client.complete_multipart_upload(
                    **self._name, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
                )
        self._buffer.clear()
        self._upload, self._open = "", False


class _Stream(io.RawIOBase):
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
        with _explained(f"reading {self._key}", self._storage.place):
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
