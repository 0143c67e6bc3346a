"""A bucket as a storage: whole objects or nothing, whatever the server does meanwhile."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backups.storage.base import Locked, LockUnsupported, NotStored, StorageError
from backups.storage.s3 import S3Storage
from tests.audit.servers import s3_server
from tests.backups.s3 import KEYS, Proxy, make_bucket, proxy_to, storage_at

FAR = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def way(server: str) -> Iterator[Proxy]:
    with proxy_to(server) as proxy:
        yield proxy


@pytest.fixture
def bucket(server: str) -> str:
    name = f"b-{secrets.token_hex(8)}"
    make_bucket(server, name)
    return name


@pytest.fixture
def storage(server: str, bucket: str) -> S3Storage:
    return storage_at(server, bucket, prefix="some/where", part_bytes=5 * 1024 * 1024)


def put(storage: S3Storage, key: str, data: bytes) -> None:
    with storage.writer(key) as writer:
        writer.write(data)
        writer.commit()


def keys(storage: S3Storage, prefix: str = "") -> list[str]:
    return [found.key for found in storage.list(prefix)]


def uploads(storage: S3Storage) -> int:
    return len(storage.client.list_multipart_uploads(Bucket=storage.options.bucket).get("Uploads", []))


@pytest.mark.parametrize("size", [0, 17, 12_000_000])
def test_what_was_written_is_read_back_whole_and_in_pieces(storage: S3Storage, size: int) -> None:
    data = secrets.token_bytes(size)
    with storage.writer("t/b/data-0001.cpb") as writer:
        for start in range(0, size, 700_001):
            writer.write(memoryview(data)[start : start + 700_001])
        assert keys(storage) == []
        writer.commit()
    assert (keys(storage), storage.size("t/b/data-0001.cpb")) == (["t/b/data-0001.cpb"], size)
    with storage.reader("t/b/data-0001.cpb") as file:
        assert file.read() == data
    with storage.reader("t/b/data-0001.cpb", 5, 6_000_000) as file:
        assert file.read() == data[5:6_000_005]
    with storage.reader("t/b/data-0001.cpb", size, 5) as file:
        assert file.read() == b""


def test_without_a_commit_nothing_stays(storage: S3Storage) -> None:
    with storage.writer("t/b/x") as writer:
        writer.write(secrets.token_bytes(11_000_000))
        assert uploads(storage) == 1
    assert (keys(storage), uploads(storage)) == ([], 0)


def test_a_dead_writers_upload_is_swept(storage: S3Storage) -> None:
    writer = storage.writer("t/b/x").__enter__()
    writer.write(secrets.token_bytes(6_000_000))
    # This server says of every upload that it began in 2010.
    assert storage.sweep(datetime(2010, 1, 1, tzinfo=UTC)) == []
    assert storage.sweep(datetime.now(UTC) + timedelta(hours=1)) == ["t/b/x"]
    assert uploads(storage) == 0
    with pytest.raises(StorageError):
        writer.commit()
    assert keys(storage) == []


def test_lists_by_whole_components_and_deletes(storage: S3Storage) -> None:
    for key in ("t/b1/x", "t/b/y", "t/b/x", "u/z"):
        put(storage, key, b"1")
    assert keys(storage, "t/b") == ["t/b/x", "t/b/y"]
    storage.delete("t/b/x")
    storage.delete("t/b/x")
    assert keys(storage) == ["t/b/y", "t/b1/x", "u/z"]
    with pytest.raises(NotStored):
        storage.size("t/b/x")
    with pytest.raises(NotStored), storage.reader("t/b/x") as file:
        file.read()


def test_a_lock_holds(server: str) -> None:
    bucket = f"b-{secrets.token_hex(8)}"
    make_bucket(server, bucket, lock=True)
    storage = storage_at(server, bucket, lock_mode="COMPLIANCE")
    put(storage, "t/b/x", b"1")
    storage.lock("t/b/x", FAR)
    with pytest.raises(Locked):
        storage.delete("t/b/x")
    assert keys(storage) == ["t/b/x"]


def test_a_bucket_without_object_lock_says_so(storage: S3Storage) -> None:
    put(storage, "t/b/x", b"1")
    with pytest.raises(LockUnsupported):
        storage.lock("t/b/x", FAR)


@pytest.mark.parametrize("fault", [500, 503, "partial"])
def test_what_passes_is_tried_again(way: Proxy, bucket: str, fault: Any) -> None:
    """Every second request fails, at each step of writing and reading."""
    storage, data = storage_at(way.url, bucket, part_bytes=5 * 1024 * 1024), secrets.token_bytes(11_000_000)
    count = iter(range(10_000))
    way.fault = lambda method, path: fault if next(count) % 2 == 0 and (fault != "partial" or method == "GET") else None
    put(storage, "t/b/x", data)
    with storage.reader("t/b/x") as file:
        assert file.read() == data


def test_an_answer_that_always_breaks_off_is_an_error(way: Proxy, bucket: str) -> None:
    storage = storage_at(way.url, bucket)
    put(storage, "t/b/x", secrets.token_bytes(1_000))
    way.fault = lambda method, path: 500 if method == "GET" else None
    with pytest.raises(StorageError) as error, storage.reader("t/b/x") as file:
        file.read()
    assert "reading t/b/x" in str(error.value)


def test_a_server_that_does_not_answer_is_given_up(way: Proxy, bucket: str) -> None:
    storage = storage_at(way.url, bucket, timeout_seconds=0.3)
    way.fault = lambda method, path: "slow"
    begun = time.monotonic()
    with pytest.raises(StorageError) as error:
        put(storage, "t/b/x", b"1")
    assert time.monotonic() - begun < 60
    assert error.value.extra["passing"]


def test_a_refusal_is_said_at_once_and_clearly(way: Proxy, bucket: str, caplog: Any) -> None:
    storage = storage_at(way.url, bucket)
    way.fault = lambda method, path: 403
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as error:
        put(storage, "t/b/x", b"1")
    assert error.value.code == "storage_denied"
    assert len(way.seen) == 1
    told = f"{error.value} {error.value.extra} {storage!r} {storage.options!r}"
    assert KEYS["aws_secret_access_key"] not in told


def test_no_key_is_logged(storage: S3Storage, caplog: Any) -> None:
    """As the product logs: at INFO and above, whatever the library does."""
    with caplog.at_level(logging.INFO):
        put(storage, "t/b/x", b"1")
        with pytest.raises(NotStored):
            storage.size("t/b/y")
    assert KEYS["aws_secret_access_key"] not in caplog.text
    assert KEYS["aws_access_key_id"] not in caplog.text


def test_a_bucket_that_is_not_there_is_said(server: str) -> None:
    with pytest.raises(StorageError) as error:
        put(storage_at(server, "b-nobody-made-it"), "t/b/x", b"1")
    assert error.value.code == "storage_missing"
