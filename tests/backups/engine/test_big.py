"""A schema of more than memory should be asked for: split, streamed, interrupted, damaged."""

from __future__ import annotations

import dataclasses
import json
import secrets
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backups.engine.capture import capture
from backups.engine.content import compare_content
from backups.engine.errors import Damaged, KeyMissing, RestoreMismatch
from backups.engine.keys import KeyRing
from backups.engine.restore import restore
from backups.engine.verify import verify
from backups.storage.local import LocalStorage
from tenants.exceptions import Cancelled, ClusterError
from tenants.schemas.compiler import CompiledTemplate
from tests.backups.engine.conftest import Place
from tests.compiler.support import ROOT, compiled

MEGABYTES = 160


@dataclass
class Big:
    """A tenant with a table of 160 MB, and a small one."""

    place: Place
    template: CompiledTemplate
    schema: str

    def take(self, storage: LocalStorage, keyring: KeyRing, prefix: str, **more: Any) -> Any:
        definition = self.place.definition(self.template, self.schema)
        return capture(
            dsn=self.place.reader, schema=self.schema, definition=definition, storage=storage, prefix=prefix,
            keyring=keyring, **more,
        )  # fmt: skip

    def run(self, act: str, storage: LocalStorage, keyring: KeyRing, prefix: str, **more: Any) -> Any:
        """In a process of its own."""
        given = {
            "act": act, "root": str(storage.root), "prefix": prefix, "key": keyring.keys["test"].hex(),
            "schema": self.schema, "reader": dataclasses.asdict(self.place.reader),
            "dsn": dataclasses.asdict(self.place.server.dsn),
            "definition": dataclasses.asdict(self.place.definition(self.template, self.schema)), **more,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "tests.backups.engine.big"],
            input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def big(new_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Big:
    text = (
        "CREATE TABLE big (id bigint PRIMARY KEY, at timestamptz, amount numeric, body text, extra jsonb);"
        "CREATE INDEX ON big (at); CREATE TABLE small (id integer PRIMARY KEY, big bigint REFERENCES big);"
    )
    template = compiled(new_place.server, tmp_path_factory.mktemp("big"), text)
    schema = new_place.tenant(template)
    with new_place.connect() as connection:
        connection.execute(
            f"INSERT INTO {schema}.big SELECT n, now() + n * interval '1 ms', n / 7.0,"
            " md5(n::text) || repeat(md5((n * 7)::text), 28), jsonb_build_object('n', n)"
            f" FROM generate_series(1, {MEGABYTES * 1000}) n"
        )
        connection.execute(f"INSERT INTO {schema}.small SELECT n, n FROM generate_series(1, 10) n")
    return Big(new_place, template, schema)


def test_memory_does_not_grow_with_size(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    """Two workers, 160 MB: a backup and a restore each stay within 64 MiB of what the program itself takes, and far
    below the 200 MB that are promised."""
    prefix = new_prefix()
    taken = big.run("capture", storage, keyring, prefix)
    assert taken.returncode == 0, taken.stderr
    manifest = verify(storage=storage, prefix=prefix, keyring=keyring)
    assert manifest.rows == MEGABYTES * 1000 + 10
    assert manifest.raw_bytes > MEGABYTES * 1_000_000 * 0.9
    assert len(next(t for t in manifest.tables if t.name == "big").parts) >= 3
    target = big.place.roles()
    back = big.run("restore", storage, keyring, prefix, schema=target)
    assert back.returncode == 0, back.stderr
    for done in (taken, back):
        memory = json.loads(done.stdout)
        assert memory["peak"] - memory["before"] < 64 * 1024, memory
        assert memory["peak"] < 200_000, memory


def test_tenants_write_while_a_backup_runs_and_it_does_not_see_it(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    prefix, wrote = new_prefix(), []

    def write(*_: object) -> None:
        if wrote:
            return
        with big.place.connect() as connection:
            connection.execute("SET lock_timeout = '500ms'")
            connection.execute(f"INSERT INTO {big.schema}.small VALUES (1000, 1)")
            connection.execute(f"UPDATE {big.schema}.big SET amount = -1 WHERE id % 10000 = 0")
            try:
                connection.execute(f"ALTER TABLE {big.schema}.small ADD COLUMN late integer")
            except psycopg.errors.LockNotAvailable:
                wrote.append("DDL waits")

    manifest = big.take(storage, keyring, prefix, on_progress=write)
    assert wrote == ["DDL waits"]
    assert {t.name: t.rows for t in manifest.tables} == {"big": MEGABYTES * 1000, "small": 10}
    target = big.place.roles()
    restore(dsn=big.place.server.dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring, ordered=True)
    compare_content(dsn=big.place.reader, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    with big.place.connect() as connection:
        assert connection.execute(f"SELECT count(*) FROM {target}.big WHERE amount = -1").fetchone() == (0,)
        connection.execute(f"UPDATE {target}.big SET body = body || '!' WHERE id = 77")
    with pytest.raises(RestoreMismatch, match="big of"):
        compare_content(dsn=big.place.reader, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    with big.place.connect() as connection:
        connection.execute(f"DELETE FROM {big.schema}.small WHERE id = 1000")


def test_a_stopped_backup_leaves_nothing(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        big.take(storage, keyring, new_prefix(), on_alive=stop)
    assert list(storage.root.rglob("*")) == []
    with big.place.connect() as connection:
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state <> 'idle'"
        for _ in range(100):
            if connection.execute(sessions, [big.place.reader.user]).fetchone() == (0,):
                return
        raise AssertionError("a session still copies")


def test_a_backup_whose_sessions_are_ended_leaves_nothing_and_the_next_one_works(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    def end(done: int, *_: object) -> None:
        if done:
            with big.place.connect() as connection:
                ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s"
                connection.execute(ended, [big.place.reader.user])

    with pytest.raises(ClusterError):
        big.take(storage, keyring, new_prefix(), on_progress=end)
    assert list(storage.root.rglob("*")) == []
    assert big.take(storage, keyring, new_prefix()).rows == MEGABYTES * 1000 + 10


def test_a_full_storage_is_said_to_be_full_and_holds_nothing(
    big: Big, keyring: KeyRing, new_prefix: Callable[[], str], tmp_path: Path
) -> None:
    """A process that may write no file larger than 4 MB stands for a disk that has no room left."""
    storage = LocalStorage(tmp_path / "full")
    done = big.run("capture", storage, keyring, new_prefix(), file_bytes=4_000_000)
    assert done.returncode == 1
    assert "does not fit into the storage" in done.stderr
    assert list(storage.root.rglob("*")) == []


def test_a_killed_backup_leaves_nothing_that_counts(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    prefix = new_prefix()
    killed = big.run("capture", storage, keyring, prefix, kill="capture")
    assert killed.returncode == -9, killed.stderr
    assert list(storage.list("")) == []
    with pytest.raises(Damaged, match="never finished"):
        verify(storage=storage, prefix=prefix, keyring=keyring)
    assert storage.sweep(datetime.now(UTC) + timedelta(seconds=1))
    assert list(storage.root.rglob("*")) == []


def test_nothing_is_touched_by_a_damaged_backup(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    prefix, target, dsn = new_prefix(), big.place.roles(), big.place.server.dsn
    manifest = big.take(storage, keyring, prefix)
    name = manifest.files[-1]
    path = storage.root / prefix / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(Damaged, match=f"{name}: it has {len(content) - 1} bytes"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Damaged, match=f"{name}: part .*SHA-256 differs"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    path.unlink()
    with pytest.raises(Damaged, match=f"{name}: the file is missing"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    path.write_bytes(content)
    with pytest.raises(KeyMissing):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=KeyRing({"x": secrets.token_bytes(32)}))
    with pytest.raises(Damaged, match=r"manifest\.json: it is missing"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=f"tenant/{uuid.uuid4()}", keyring=keyring)
    assert exists(big.place, target) is False
    verify(storage=storage, prefix=prefix, keyring=keyring)


def exists(place: Place, schema: str) -> bool:
    with place.connect() as connection:
        return bool((connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema]).fetchone() or (0,))[0])


def test_a_restore_that_is_stopped_or_fails_takes_its_schema_away(
    big: Big, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    prefix, target, seen = new_prefix(), big.place.roles(), []
    big.take(storage, keyring, prefix)

    def stop(done: int, total: int, rows: int) -> None:
        if done:
            seen.append(exists(big.place, target))
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        restore(
            dsn=big.place.server.dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring, on_progress=stop
        )
    assert seen == [True]
    assert exists(big.place, target) is False
    with big.place.connect() as connection:
        members = (
            "SELECT count(*) FROM pg_auth_members WHERE roleid = %s::regrole AND member = %s::regrole AND set_option"
        )
        assert connection.execute(members, [f"{target}_owner", big.place.server.dsn.user]).fetchone() == (0,)
    done = restore(dsn=big.place.server.dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    assert done.rows == MEGABYTES * 1000 + 10
