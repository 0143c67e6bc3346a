"""Backups in an S3-compatible bucket.

A small object is put at once, a large one in parts of a multipart upload that is completed at `commit`: until then
nothing is seen under its key. Each part carries a CRC that the server checks. What may pass (500, 503, timeouts, a
stream that ends early) is tried again; what may not (403, no such bucket) is said at once, with the storage's words and
never with a key or a signature in them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from backups.storage.base import Locked, LockUnsupported, NotStored, StorageError, Stored, check_key, check_prefix
from backups.storage.s3_errors import explained
from backups.storage.s3_streams import S3Reader, S3Writer

PART_BYTES = 16 * 1024 * 1024
ATTEMPTS = 5
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
        return cast(BinaryIO, io.BufferedReader(S3Reader(self, key, min(start, end), end), 1024 * 1024))

    def size(self, key: str) -> int:
        """An object's size in bytes."""
        with explained(f"looking for {key}", self.place):
            return int(self.client.head_object(**self.name(key))["ContentLength"])

    def list(self, prefix: str) -> Iterator[Stored]:
        """The objects below a prefix; of uploads that are under way nothing."""
        own = f"{self.options.prefix.strip('/')}/".lstrip("/")
        wanted = check_prefix(prefix)
        pages = self.client.get_paginator("list_objects_v2")
        with explained("listing", self.place):
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
        with explained(f"listing versions of {name['Key']}", self.place):
            found = []
            pages = self.client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=name["Bucket"], Prefix=name["Key"]):
                rows = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                found += [row["VersionId"] for row in rows if row["Key"] == name["Key"]]
            return [None if version == "null" else version for version in found]

    def _delete_version(self, key: str, name: dict[str, str], version: str | None) -> None:
        chosen = {**name, "VersionId": version} if version else name
        try:
            with explained(f"deleting {key}", self.place):
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
            with explained(f"locking {key}", self.place):
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
        with explained("listing uploads", self.place):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.options.bucket, Prefix=own):
                for row in page.get("Uploads", []):
                    if row["Initiated"].astimezone(UTC) < before:
                        self.client.abort_multipart_upload(
                            Bucket=self.options.bucket, Key=row["Key"], UploadId=row["UploadId"]
                        )
                        gone.append(row["Key"][len(own) :])
        return gone
