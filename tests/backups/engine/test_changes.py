"""Schemas that are not their template's any more, parts of backups, and whether anything changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from backups.engine.capture import capture
from backups.engine.current import Known, definition_of
from backups.engine.errors import NotCovered, SchemaChanged
from backups.engine.keys import KeyRing
from backups.engine.proof import changed_since
from backups.engine.restore import restore
from backups.storage.local import LocalStorage
from tenants.exceptions import ClusterBusy, Conflict, NotFound
from tenants.schemas.compiler import CompiledTemplate, SqlDirectory, compile_template
from tenants.schemas.roles import as_owner
from tests.backups.engine.conftest import Place
from tests.backups.engine.test_roundtrip import dump, populate
from tests.compiler.support import TRADING, compiled

SMALL = (
    "CREATE TABLE parent (id integer PRIMARY KEY, name text); INSERT INTO parent VALUES (1, 'one'), (2, 'two');"
    "CREATE TABLE child (id integer GENERATED ALWAYS AS IDENTITY, parent integer REFERENCES parent, note text);"
    "INSERT INTO child (parent, note) VALUES (1, 'a'), (2, NULL);"
    "CREATE SEQUENCE numbers; CREATE MATERIALIZED VIEW names AS SELECT name FROM parent;"
)


@pytest.fixture
def small(new_place: Place, tmp_path: Path) -> CompiledTemplate:
    return compiled(new_place.server, tmp_path, SMALL)


def migrate(place: Place, schema: str, statements: str) -> None:
    """As the schema's owner, as a tenant's migrations run."""
    with psycopg.connect(place.server.dsn.conninfo(), autocommit=True) as connection, as_owner(connection, schema):
        connection.execute(f"SET LOCAL search_path = {schema}; {statements}")


def test_a_migrated_tenant_comes_back_as_it_was(
    new_place: Place, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    """With time series, whose partitions are no part of the definition, and of which there are more by then."""
    place, prefix, dsn = new_place, new_prefix(), new_place.server.dsn
    template = compile_template(SqlDirectory(TRADING), dsn=dsn)
    schema = place.tenant(template)
    migrate(
        place, schema,
        "ALTER TABLE accounts ADD COLUMN nickname text DEFAULT 'none'; CREATE INDEX ON ticks (price);"
        "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text);"
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"CREATE POLICY tenant_rw ON notes FOR ALL TO {schema}_owner, {schema}_rw USING (true) WITH CHECK (true);"
        f"CREATE POLICY tenant_ro ON notes FOR SELECT TO {schema}_ro USING (true);"
        "INSERT INTO notes (body) VALUES ('x')",
    )  # fmt: skip
    known = [Known(template.script, template.marker, template.fingerprint)]
    definition = definition_of(schema, dsn=dsn, reader=place.reader, known=known)
    assert definition.source == definition.fingerprint == place.fingerprint(schema) != template.fingerprint
    populate(place, schema, template)
    assert definition_of(schema, dsn=dsn, reader=place.reader, known=known) is definition
    capture(dsn=place.reader, schema=schema, definition=definition, storage=storage, prefix=prefix, keyring=keyring)
    target = place.roles()
    done = restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    assert done.fingerprint == definition.fingerprint
    assert dump(place, target, schema) == dump(place, schema)


def test_a_definition_that_is_not_the_schemas_any_more_is_refused(
    new_place: Place, small: CompiledTemplate, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    schema = new_place.tenant(small)
    definition = new_place.definition(small, schema)
    migrate(new_place, schema, "ALTER TABLE child ADD COLUMN extra integer")
    with pytest.raises(SchemaChanged):
        capture(
            dsn=new_place.reader, schema=schema, definition=definition, storage=storage, prefix=new_prefix(),
            keyring=keyring,
        )  # fmt: skip
    assert list(storage.root.rglob("*")) == []


def test_a_lock_is_not_waited_for_long_and_nothing_is_left(
    new_place: Place, small: CompiledTemplate, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    schema = new_place.tenant(small)
    definition, begun = new_place.definition(small, schema), time.monotonic()
    with new_place.connect() as other, other.transaction():
        other.execute(f"LOCK TABLE {schema}.child IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ClusterBusy):
            capture(
                dsn=new_place.reader, schema=schema, definition=definition, storage=storage, prefix=new_prefix(),
                keyring=keyring, lock_timeout_ms=200,
            )  # fmt: skip
    assert time.monotonic() - begun < 5
    assert list(storage.root.rglob("*")) == []


def test_what_a_backup_would_lose_is_refused(
    new_place: Place, small: CompiledTemplate, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    schema = new_place.tenant(small)
    with new_place.connect() as connection:
        connection.execute(
            f"CREATE FOREIGN DATA WRAPPER w_{schema}; CREATE SERVER s_{schema} FOREIGN DATA WRAPPER w_{schema}"
        )
        connection.execute(f"CREATE FOREIGN TABLE {schema}.away (a integer) SERVER s_{schema}")
        try:
            with pytest.raises(NotCovered, match="away is a foreign table"):
                capture(
                    dsn=new_place.reader, schema=schema, definition=new_place.definition(small, schema),
                    storage=storage, prefix=new_prefix(), keyring=keyring,
                )  # fmt: skip
        finally:
            connection.execute(f"DROP FOREIGN DATA WRAPPER w_{schema} CASCADE")


def test_some_tables_alone(
    new_place: Place, small: CompiledTemplate, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    schema, prefix, dsn = new_place.tenant(small), new_prefix(), new_place.server.dsn
    capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(small, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    target = new_place.roles()
    with pytest.raises(NotFound, match="no table nothing"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring, tables=["nothing"])
    done = restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring, tables=["child"])
    assert done.rows == 2
    with new_place.connect() as connection:
        assert connection.execute(f"SELECT note FROM {target}.child ORDER BY id").fetchall() == [("a",), (None,)]
        assert connection.execute(f"SELECT count(*) FROM {target}.parent").fetchone() == (0,)
    with pytest.raises(Conflict, match="exists already"):
        restore(dsn=dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    with pytest.raises(NotFound, match="roles"):
        restore(dsn=dsn, schema="t_" + "a" * 20, storage=storage, prefix=prefix, keyring=keyring)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO parent VALUES (3, 'three')",
        "UPDATE parent SET name = name",
        "DELETE FROM child WHERE id = 1",
        "TRUNCATE child",
        "SELECT nextval('numbers')",
        "ALTER TABLE child ADD COLUMN c integer",
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql RETURN 1",
    ],
)
def test_a_change_of_any_kind_is_noticed_without_reading_rows(
    new_place: Place,
    small: CompiledTemplate,
    storage: LocalStorage,
    keyring: KeyRing,
    new_prefix: Callable[[], str],
    change: str,
) -> None:
    schema = new_place.tenant(small)
    flush(new_place, schema)
    manifest = capture(
        dsn=new_place.reader, schema=schema, definition=new_place.definition(small, schema), storage=storage,
        prefix=new_prefix(), keyring=keyring,
    )  # fmt: skip
    assert not changed_since(new_place.reader, schema, manifest.proof)
    assert not changed_since(new_place.reader, schema, manifest.proof)
    assert changed_since(new_place.reader, schema, {})
    with new_place.connect() as connection:
        connection.execute(f"SET search_path = {schema}; {change}")
        connection.execute("SELECT pg_stat_force_next_flush()")
    assert changed_since(new_place.reader, schema, manifest.proof)


def flush(place: Place, schema: str) -> None:
    """Wait until what provisioning did has been counted: the four seed rows."""
    counted = "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE schemaname = %s"
    with place.connect() as connection:
        for _ in range(200):
            row = connection.execute(counted, [schema]).fetchone()
            if row and row[0] and row[0] >= 4:
                return
            time.sleep(0.05)
    raise AssertionError("the server did not count in time")
