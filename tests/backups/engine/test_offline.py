"""scripts/restore_offline: the backup can be read by whoever has it and its key, without us."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backups.engine.capture import capture
from backups.engine.errors import Damaged
from backups.engine.export import export
from backups.engine.keys import KeyRing
from backups.storage.local import LocalStorage
from tenants.exceptions import InvalidInput
from tenants.postgres import Dsn, binary
from tests.backups.engine.conftest import Place
from tests.backups.engine.test_roundtrip import comparable, compiled, dump, populate
from tests.compiler.support import ROOT, pg_dump


@pytest.fixture
def plain_database(new_place: Place) -> Iterator[Dsn]:
    """An empty database, of which the control plane knows nothing."""
    name = f"cp_offline_{secrets.token_hex(5)}"
    with new_place.connect() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield new_place.server.superuser.replace(dbname=name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for suffix in ("owner", "rw", "ro"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{name}_{suffix}")))


def offline(dsn: Dsn, directory: Path, keys: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script, with nothing of ours on its path."""
    psql = binary("psql", minimum_major=18).parent
    environment = {**dsn.environment(), "PATH": f"{psql}:{os.environ['PATH']}"}
    command = [sys.executable, "-I", str(ROOT / "scripts/restore_offline"), str(directory), "--keys", str(keys)]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "mode"), [("trading", []), ("kitchen_sink", ["--plain"])])
def test_a_backup_comes_back_without_the_control_plane(
    new_place: Place,
    plain_database: Dsn,
    name: str,
    mode: list[str],
    tmp_path: Path,
    storage: LocalStorage,
    keyring: KeyRing,
    new_prefix: Callable[[], str],
) -> None:
    template = compiled(new_place, name, tmp_path)
    with new_place.connect() as connection:
        needed = [sql.Identifier(need.schema) for need in template.extensions]
        for schema in needed:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    schema, prefix = new_place.tenant(template), new_prefix()
    if name == "trading":
        populate(new_place, schema, template)
    manifest = capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(template, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    keys, directory = tmp_path / "keys", storage.root / prefix
    keys.write_text(f"test:{base64.b64encode(keyring.keys['test']).decode()}\n")
    listed = offline(plain_database, directory, keys, "--list", *mode)
    assert listed.returncode == 0, listed.stderr
    assert all(table.name in listed.stdout for table in manifest.tables)

    target = plain_database.dbname
    done = offline(plain_database, directory, keys, "--schema", target, *mode)
    assert done.returncode == 0, done.stderr
    assert f"{manifest.rows} rows are in the schema {target}" in done.stdout
    text = pg_dump(plain_database, "--inserts", f"--schema={target}", major=18)
    assert comparable(text, target, schema) == dump(new_place, schema)


@pytest.mark.parametrize(("name", "compression"), [("trading", "gz"), ("kitchen_sink", "gz")])
def test_an_export_is_replayed_by_psql_alone(
    new_place: Place,
    plain_database: Dsn,
    name: str,
    compression: str,
    tmp_path: Path,
    storage: LocalStorage,
    keyring: KeyRing,
    new_prefix: Callable[[], str],
) -> None:
    template = compiled(new_place, name, tmp_path)
    schema, prefix, target = new_place.tenant(template), new_prefix(), plain_database.dbname
    if name == "trading":
        populate(new_place, schema, template)
    manifest = capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(template, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    directory = tmp_path / "handover"
    done = export(
        storage=storage, prefix=prefix, manifest=manifest, directory=directory, schema=target, compression=compression
    )
    assert done.rows == manifest.rows
    assert {oct(path.stat().st_mode & 0o777) for path in directory.rglob("*") if path.is_file()} == {"0o600"}
    assert oct(directory.stat().st_mode & 0o777) == "0o700"
    psql = binary("psql", minimum_major=18)
    replayed = subprocess.run(
        [str(psql), "-X", "-q", "-f", "restore.sql"], cwd=directory, env={**os.environ, **plain_database.environment()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    text = pg_dump(plain_database, "--inserts", f"--schema={target}", major=18)
    assert comparable(text, target, schema) == dump(new_place, schema)


def test_an_export_is_there_whole_or_not_at_all(
    new_place: Place, tmp_path: Path, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    from tests.compiler import support

    template = support.compiled(new_place.server, tmp_path, "CREATE TABLE t (a integer); INSERT INTO t VALUES (1);")
    schema, prefix = new_place.tenant(template), new_prefix()
    manifest = capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(template, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    where = {"storage": storage, "prefix": prefix, "manifest": manifest}
    place = tmp_path / "out"
    place.mkdir()
    (place / "there").mkdir()
    with pytest.raises(InvalidInput):
        export(**where, directory=place / "there")
    file = storage.root / prefix / "data-0001.cpb"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Damaged):
        export(**where, directory=place / "new")
    assert [path.name for path in place.iterdir()] == ["there"]
    file.write_bytes(content)
    assert export(**where, directory=place / "new", compression="zst").files == 2


@pytest.mark.parametrize("mode", [[], ["--plain"]])
def test_what_is_damaged_is_refused_before_anything_is_done(
    new_place: Place,
    plain_database: Dsn,
    mode: list[str],
    tmp_path: Path,
    storage: LocalStorage,
    keyring: KeyRing,
    new_prefix: Callable[[], str],
) -> None:
    from tests.compiler import support

    template = support.compiled(new_place.server, tmp_path, "CREATE TABLE t (a integer); INSERT INTO t VALUES (1);")
    schema, prefix = new_place.tenant(template), new_prefix()
    capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(template, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    keys, wrong, directory = tmp_path / "keys", tmp_path / "wrong", storage.root / prefix
    keys.write_text(base64.b64encode(keyring.keys["test"]).decode().join(["test:", ""]))
    wrong.write_text("test:" + base64.b64encode(secrets.token_bytes(32)).decode())
    refused = offline(plain_database, directory, wrong, *mode)
    assert (refused.returncode, "manifest.json" in refused.stderr) == (1, True), refused.stderr
    for name, expected in (("data-0001.cpb", "data-0001.cpb: part"), ("manifest.json", "manifest.json")):
        path = directory / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b'"rows":1', b'"rows":2') if name == "manifest.json" else content[:-1] + b"\0")
        refused = offline(plain_database, directory, keys, *mode)
        assert (refused.returncode, expected in refused.stderr) == (1, True), refused.stderr
        path.write_bytes(content)
    assert schema not in pg_dump(plain_database, "--schema-only", major=18)
