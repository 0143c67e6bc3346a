"""A clone is its template: pg_dump says so, of every template we have, on both majors."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tenants.clusters import prepare_functions
from tenants.postgres import binary
from tenants.schemas.compiler import (
    DumpFile,
    LiveSchema,
    SqlDirectory,
    compile_template,
    fingerprints,
    measure_fingerprint,
)
from tenants.schemas.timeseries import initial_partitions
from tests.compiler.support import (
    TRADING,
    Server,
    clone,
    compiled,
    data_dump,
    drop_schema,
    kitchen_sink,
    load_plainly,
    make_roles,
    pg_dump,
    schema_dump,
)


@pytest.fixture(params=["trading", "kitchen_sink"])
def template(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> tuple[str, Path]:
    """A shipped template: its schema's name and its files."""
    name = request.param
    return name, TRADING if name == "trading" else kitchen_sink(server.major, tmp_path)


def test_dump_of_a_clone_equals_that_of_the_template(server: Server, template: tuple[str, Path]) -> None:
    name, directory = template
    result = compile_template(SqlDirectory(directory), dsn=server.dsn)
    schema = clone(server, result)
    load_plainly(server, directory, name)
    try:
        assert schema_dump(server, schema).replace(schema, name).splitlines() == schema_dump(server, name).splitlines()
    finally:
        drop_schema(server, name)
    with server.connect() as conn:
        assert fingerprints(conn, [schema]) == {schema: result.fingerprint}


def test_rows_and_sequences_of_a_live_schema_come_along(server: Server, template: tuple[str, Path]) -> None:
    name, directory = template
    load_plainly(server, directory, name)
    try:
        result = compile_template(LiveSchema(name), dsn=server.dsn)
        schema = clone(server, result)
        expected = data_dump(server, name, name)
        assert data_dump(server, schema, name) == expected
        assert sum(line.startswith("INSERT INTO") for line in expected) == result.size["seed_rows"] > 100
        assert schema_dump(server, schema).replace(schema, name) == schema_dump(server, name)
    finally:
        drop_schema(server, name)


@pytest.mark.parametrize("form", ["plain", "custom", "directory", "tar"])
def test_every_form_of_dump_gives_the_same_template(server: Server, form: str, tmp_path: Path) -> None:
    directory = kitchen_sink(server.major, tmp_path)
    load_plainly(server, directory, "kitchen_sink")
    try:
        dump = tmp_path / "dump"
        pg_dump(server.dsn, f"--format={form}", f"--file={dump}", "--schema=kitchen_sink", major=server.major)
        expected = schema_dump(server, "kitchen_sink")
        rows = data_dump(server, "kitchen_sink", "kitchen_sink")
    finally:
        drop_schema(server, "kitchen_sink")
    result = compile_template(DumpFile(dump), dsn=server.dsn)
    schema = clone(server, result)
    assert schema_dump(server, schema).replace(schema, "kitchen_sink") == expected
    assert data_dump(server, schema, "kitchen_sink") == rows


def test_a_dump_of_the_older_server_by_the_newer_pg_dump(oldest: Server, newest: Server, tmp_path: Path) -> None:
    """Settings and formats the old server does not know must not get in the way."""
    load_plainly(oldest, TRADING, "trading")
    try:
        dump = tmp_path / "dump.custom"
        pg_dump(oldest.dsn, "--format=custom", f"--file={dump}", "--schema=trading", major=newest.major)
    finally:
        drop_schema(oldest, "trading")
    result = compile_template(DumpFile(dump), dsn=oldest.dsn)
    assert result.size["tables"] >= 40
    assert result.server_version_num // 10_000 == oldest.major


def test_a_script_compiled_on_the_old_server_clones_on_the_new(oldest: Server, newest: Server) -> None:
    result = compile_template(SqlDirectory(TRADING), dsn=oldest.dsn)
    prepare_functions(newest.dsn, owner=newest.dsn.user)
    with newest.connect() as conn:
        before = conn.execute("SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace").fetchone()
        expected = measure_fingerprint(result.script, result.marker, dsn=newest.dsn)
        assert conn.execute("SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace").fetchone() == before
    schema = clone(newest, result)
    with newest.connect() as conn:
        assert fingerprints(conn, [schema]) == {schema: expected}


def test_a_clone_without_rows_has_none_but_full_materialized_views(server: Server, tmp_path: Path) -> None:
    from tests.compiler.support import write_template

    source = write_template(
        tmp_path / "small",
        "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY, a text); INSERT INTO t (a) VALUES ('x'), ('y');"
        'CREATE MATERIALIZED VIEW "M 1" AS SELECT count(*) AS n FROM t;'
        'CREATE MATERIALIZED VIEW b AS SELECT n + 1 AS n FROM "M 1";'
        "CREATE MATERIALIZED VIEW empty AS SELECT 1 AS n WITH NO DATA;",
    )
    result = compile_template(source, dsn=server.dsn, with_data=False)
    schema = clone(server, result)
    assert result.size["seed_rows"] == 0
    with server.connect(superuser=True) as conn:
        assert conn.execute(f"SELECT n FROM {schema}.b").fetchone() == (1,)
        assert conn.execute(f"INSERT INTO {schema}.t (a) VALUES ('z') RETURNING id").fetchone() == (1,)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            conn.execute(f"TABLE {schema}.empty")


def test_four_clones_at_once(newest: Server) -> None:
    result = compile_template(SqlDirectory(TRADING), dsn=newest.dsn)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        schemas = list(pool.map(lambda _: clone(newest, result), range(8)))
    with newest.connect() as conn:
        assert fingerprints(conn, schemas) == dict.fromkeys(schemas, result.fingerprint)


@pytest.mark.slow
def test_three_hundred_tables_with_foreign_keys(newest: Server, tmp_path: Path) -> None:
    statements = []
    for number in range(300):
        parent = f", parent integer REFERENCES t{number - 1}" if number else ""
        statements.append(
            f"CREATE TABLE t{number} (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text NOT NULL{parent});"
            f"CREATE INDEX t{number}_a ON t{number} (a); COMMENT ON TABLE t{number} IS 'Table {number}';"
            f"INSERT INTO t{number} (a) VALUES ('{number}');"
        )
    result = compiled(newest, tmp_path, "\n".join(statements))
    assert (result.size["tables"], result.size["seed_rows"]) == (300, 300)
    schema = clone(newest, result)
    with newest.connect() as conn:
        assert fingerprints(conn, [schema]) == {schema: result.fingerprint}


def test_the_desk_of_a_trading_clone_works(server: Server) -> None:
    """The template's own smoke test, as one of the tenant's logins would run it."""
    from tests.compiler.support import TEMPLATES

    result = compile_template(SqlDirectory(TRADING), dsn=server.dsn)
    schema = clone(server, result)
    with server.connect() as conn, conn.transaction():
        conn.execute(f"SET LOCAL ROLE {schema}_owner")
        conn.execute(initial_partitions(schema, result.timeseries, datetime.now(UTC)))
    with server.connect(superuser=True) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_rw")
        conn.execute(f"SET search_path = {schema}")
        conn.execute((TEMPLATES / "trading_smoke.sql").read_bytes())


def test_a_tenants_own_schema_is_a_template_too(server: Server, tmp_path: Path) -> None:
    """Its protection is the control plane's: the copy gets the same, not a second one."""
    first = compiled(
        server,
        tmp_path,
        "CREATE TABLE t (a integer); INSERT INTO t VALUES (1);"
        "CREATE FUNCTION open() RETURNS integer LANGUAGE sql RETURN 1;"
        "CREATE FUNCTION closed() RETURNS integer LANGUAGE sql RETURN 1; REVOKE ALL ON FUNCTION closed() FROM PUBLIC;",
    )
    schema = clone(server, first)
    second = compile_template(LiveSchema(schema), dsn=server.dsn, with_data=False)
    assert second.fingerprint == first.fingerprint


def test_roles_may_be_made_beforehand(newest: Server, tmp_path: Path) -> None:
    """What the docstring promises: one message, on any connection, in the caller's transaction."""
    result = compiled(newest, tmp_path, "CREATE TABLE t (a integer);")
    schema = "t_rolledback"
    make_roles(newest, schema)
    with newest.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner; SET LOCAL ROLE {schema}_owner")
        conn.execute(result.script.replace(result.marker, schema))
    with newest.connect() as conn:
        assert conn.execute("SELECT to_regnamespace('t_rolledback')").fetchone() == (None,)
        assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_psql_counts_as_many_statements_as_we_do(newest: Server, tmp_path: Path) -> None:
    """The splitter is ours, so psql is asked, too: it times each statement it sends."""
    from tenants.schemas.compiler.sqlscript import split

    command = [
        str(binary("psql", minimum_major=newest.major)),
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        r"\timing on",
        "-f",
    ]
    for file in sorted(kitchen_sink(newest.major, tmp_path).glob("*.sql")):
        environment = {"PATH": "/usr/bin:/bin", **newest.dsn.environment()}
        done = subprocess.run([*command, str(file)], env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        timed = re.findall(r"^Time: [0-9.]+ ms", done.stdout.decode(), re.MULTILINE)
        assert len([s for s in split(file.read_text()) if s.tokens]) == len(timed), file.name
    drop_schema(newest, "kitchen_sink")
