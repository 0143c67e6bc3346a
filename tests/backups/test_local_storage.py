"""A directory as a storage: whole objects or nothing."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.storage.base import LockUnsupported, NotStored, StorageError, StorageFull
from backups.storage.local import LocalStorage
from tenants.exceptions import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def put(storage: LocalStorage, key: str, data: bytes) -> None:
    with storage.writer(key) as writer:
        writer.write(data)
        writer.commit()


def test_what_was_written_is_read_back_whole_and_in_pieces(storage: LocalStorage) -> None:
    data = secrets.token_bytes(3_000_000)
    with storage.writer("a/b/data-0001.cpb") as writer:
        for start in range(0, len(data), 700_001):
            writer.write(memoryview(data)[start : start + 700_001])
        writer.commit()
    assert storage.size("a/b/data-0001.cpb") == len(data)
    with storage.reader("a/b/data-0001.cpb") as file:
        assert file.read() == data
    with storage.reader("a/b/data-0001.cpb", 1_234_567, 1_000_000) as file:
        assert file.read() == data[1_234_567:2_234_567]
    with storage.reader("a/b/data-0001.cpb", 2_999_999, 500) as file:
        assert (file.read(10), file.read(10)) == (data[-1:], b"")


def test_nothing_is_seen_before_the_commit_and_nothing_stays_without_one(storage: LocalStorage) -> None:
    with storage.writer("t/x/manifest.json") as writer:
        writer.write(b"half")
        assert list(storage.list("")) == []
        with pytest.raises(NotStored):
            storage.size("t/x/manifest.json")
    assert list(storage.root.rglob("*")) == []
    with pytest.raises(TypeError), storage.writer("t/x/manifest.json") as writer:
        writer.write("half")  # type: ignore[arg-type]
    assert list(storage.root.rglob("*")) == []


def test_an_object_is_replaced_at_once_or_not_at_all(storage: LocalStorage) -> None:
    put(storage, "t/m", b"old")
    with storage.writer("t/m") as writer:
        writer.write(b"abandoned")
    with storage.reader("t/m") as file:
        assert file.read() == b"old"
    put(storage, "t/m", b"new")
    with storage.reader("t/m") as file:
        assert file.read() == b"new"


def test_lists_by_whole_components_in_the_order_of_keys(storage: LocalStorage) -> None:
    keys = ["t/a/1", "t/a-b/1", "t/a/2", "ta/1", "t/ab"]
    for key in keys:
        put(storage, key, key.encode())
    assert [found.key for found in storage.list("")] == sorted(keys)
    assert [found.key for found in storage.list("t/a")] == ["t/a/1", "t/a/2"]
    assert [found.key for found in storage.list("t/a/")] == ["t/a/1", "t/a/2"]
    assert [found.key for found in storage.list("nothing")] == []
    found = next(iter(storage.list("t/a/1")))
    assert found.size == 5
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_deleting_is_idempotent_and_leaves_no_empty_directories(storage: LocalStorage) -> None:
    put(storage, "t/a/1", b"1")
    put(storage, "t/b/1", b"1")
    storage.delete("t/a/1")
    storage.delete("t/a/1")
    assert sorted(path.name for path in (storage.root / "t").iterdir()) == ["b"]
    with pytest.raises(NotStored):
        storage.reader("t/a/1")


@pytest.mark.parametrize(
    "key", ["", "/etc/x", "../x", "a/../b", "a//b", "a/.b", "a/b.", "a\n", "a/", "ä", "a b", "a\0"]
)
def test_keys_lead_nowhere_else(storage: LocalStorage, key: str) -> None:
    for act in (storage.writer, storage.reader, storage.size, storage.delete):
        with pytest.raises(InvalidInput):
            act(key)


def test_only_its_account_can_read_it(storage: LocalStorage) -> None:
    put(storage, "t/a/1", b"1")
    assert (storage.root / "t/a/1").stat().st_mode & 0o077 == 0
    assert (storage.root / "t").stat().st_mode & 0o077 == 0


def test_it_says_that_it_cannot_lock(storage: LocalStorage) -> None:
    put(storage, "t/a/1", b"1")
    with pytest.raises(LockUnsupported):
        storage.lock("t/a/1", datetime.now(UTC) + timedelta(days=1))


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    """/dev/full refuses every write as a full disk does."""
    storage = LocalStorage(tmp_path)
    with storage.writer("t/a") as writer:
        file = writer._file
        assert file is not None
        os.dup2(os.open("/dev/full", os.O_WRONLY), file.fileno())
        with pytest.raises(StorageFull, match="t/a"):
            writer.write(b"x")
    assert list(storage.list("")) == []


def test_a_root_that_is_a_file_is_an_error_of_the_storage(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(StorageError), LocalStorage(tmp_path / "root").writer("t/a"):
        pass


def test_a_killed_writer_leaves_nothing_that_counts_and_is_swept(storage: LocalStorage) -> None:
    code = (
        "import sys,time; from pathlib import Path; from backups.storage.local import LocalStorage\n"
        "w = LocalStorage(Path(sys.argv[1])).writer('t/b/manifest.json').__enter__()\n"
        "w.write(b'x' * 100); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(storage.root)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(storage.list("")) == []
    assert storage.sweep(datetime.now(UTC) - timedelta(minutes=5)) == []  # one that may still be at it is left alone
    assert storage.sweep(datetime.now(UTC) + timedelta(seconds=1)) == ["t/b/manifest.json"]
    assert list(storage.root.rglob("*")) == []


def test_writers_and_deleters_of_one_directory_do_not_disturb_each_other(storage: LocalStorage) -> None:
    failures: list[BaseException] = []
    until = time.monotonic() + 1.0

    def churn(name: str) -> None:
        try:
            while time.monotonic() < until:
                put(storage, f"t/a/{name}", b"1")
                storage.delete(f"t/a/{name}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
