"""What a bucket's errors mean: ours for boto3's, with the storage's words and never a key or a signature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backups.storage.base import NotStored, StorageError, StorageFull

_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
_DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"}


@contextmanager
def explained(what: str, place: str) -> Iterator[None]:
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
