"""Leftovers of a crash are found by their names, which hold the time; extensions; what a clone may not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenants.schemas.compiler import DumpFile, TemplateRefused, compile_template, drop_stale_scratch, render
from tests.compiler.support import Server, clone, compiled, fresh_name, pg_dump, write_template


def test_the_sweep_takes_old_databases_and_roles_only(server: Server) -> None:
    old = f"cpimport_{datetime.now(UTC) - timedelta(days=2):%Y%m%d%H%M%S}_{fresh_name('x')}"
    new = f"cpimport_{datetime.now(UTC):%Y%m%d%H%M%S}_{fresh_name('x')}"
    with server.connect() as conn:
        for name in (old, new):
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            for role in (name, f"{name}_1_owner"):
                conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        try:
            dropped = drop_stale_scratch(conn, timedelta(days=1))
            assert {old, f"{old}_1_owner"} <= set(dropped)
            assert not any(name.startswith(new) for name in dropped)
            assert conn.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [old]).fetchone() == (0,)
            assert conn.execute("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, %s)", [old]).fetchone() == (
                0,
            )
        finally:
            conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(new)))
            for role in (new, f"{new}_1_owner"):
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize("name", ["", 'x"; DROP SCHEMA public; --', "Größe", "t x", "t_a\n", "a" * 60])
def test_only_plain_names_are_rendered(name: str) -> None:
    with pytest.raises(ValueError, match="not a schema name"):
        render("CREATE TABLE cpm_x.t ();", "cpm_x", name)


def test_extensions_are_reported_and_follow_where_the_database_has_them(server: Server, tmp_path: Path) -> None:
    """A dump that has them in public, for a database that keeps them in `extensions`."""
    name = fresh_name("cp_compiler")
    with server.connect() as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        dsn = server.dsn.replace(dbname=name)
        with psycopg.connect(dsn.conninfo()) as conn:
            conn.execute(
                "CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION fuzzystrmatch SCHEMA public;"
                "CREATE SCHEMA app;"
                "CREATE TABLE app.t (a public.citext PRIMARY KEY, b text);"
                "CREATE INDEX i ON app.t ((a OPERATOR(public.=) 'x'));"
                "CREATE FUNCTION app.h(x text) RETURNS text LANGUAGE plpgsql AS"
                " $$ BEGIN RETURN public.soundex(x); END $$;"
                "INSERT INTO app.t VALUES ('Ä', 'b');"
            )
        dump = tmp_path / "app.sql"
        pg_dump(dsn, f"--file={dump}", "--schema=app", "--extension=*", major=server.major)
        result = compile_template(DumpFile(dump), dsn=server.dsn)
    finally:
        with server.connect() as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    assert {(need.name, need.schema) for need in result.extensions} == {
        ("citext", "extensions"),
        ("fuzzystrmatch", "extensions"),
    }
    with server.connect(superuser=True) as conn:
        conn.execute("CREATE SCHEMA IF NOT EXISTS extensions; GRANT USAGE ON SCHEMA extensions TO PUBLIC")
        for need in result.extensions:
            conn.execute(f"CREATE EXTENSION IF NOT EXISTS {need.name} SCHEMA extensions")
    schema = clone(server, result)
    with server.connect(superuser=True) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_rw")
        assert conn.execute(f"SELECT {schema}.h('Anna'), a FROM {schema}.t").fetchone() == ("A500", "Ä")


def test_an_extension_that_nobody_needs_is_only_noted(newest: Server, tmp_path: Path) -> None:
    result = compiled(newest, tmp_path, "CREATE EXTENSION IF NOT EXISTS no_such_thing; CREATE TABLE t (a integer);")
    assert result.extensions == []
    assert any("no_such_thing" in note for note in result.notes)


def test_a_superusers_login_serves_as_well(server: Server, tmp_path: Path) -> None:
    """And makes what only it may: pageinspect is not a trusted extension."""
    text = "CREATE EXTENSION pageinspect; CREATE VIEW v AS SELECT * FROM page_header(get_raw_page('v', 0));"
    source = write_template(tmp_path / "small", text)
    assert [need.name for need in compile_template(source, dsn=server.superuser).extensions] == ["pageinspect"]
    with pytest.raises(TemplateRefused) as caught:
        compile_template(source, dsn=server.dsn)
    assert "pageinspect" in str(caught.value.hint)


def test_a_clones_logins_can_do_what_they_should_and_no_more(server: Server, tmp_path: Path) -> None:
    result = compiled(
        server,
        tmp_path,
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id serial, m mood);"
        "CREATE FUNCTION open() RETURNS integer LANGUAGE sql RETURN 1;"
        "CREATE FUNCTION closed() RETURNS integer LANGUAGE sql RETURN 1;"
        "REVOKE EXECUTE ON FUNCTION closed() FROM PUBLIC;"
        "CREATE VIEW v AS SELECT * FROM t; CREATE TABLE shut (a integer);"
        "ALTER TABLE shut ENABLE ROW LEVEL SECURITY; INSERT INTO shut VALUES (1);"
        "CREATE TABLE asleep (a integer); CREATE POLICY no ON asleep USING (false); INSERT INTO asleep VALUES (1);",
    )
    schema, other = clone(server, result), clone(server, result)
    with server.connect(superuser=True) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_rw; SET search_path = {schema}")
        conn.execute("INSERT INTO t (m) VALUES ('ok')")
        assert conn.execute("SELECT count(*), open() FROM v").fetchone() == (1, 1)
        assert conn.execute("SELECT count(*) FROM shut").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM asleep").fetchone() == (1,)
        for forbidden in (
            "SELECT closed()", "TRUNCATE t", "CREATE TABLE x (a integer)", "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
            f"SELECT * FROM {other}.t", f"SELECT {other}.open()", "CREATE TABLE x (r integer REFERENCES t)",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(forbidden)  # type: ignore[arg-type]
    with server.connect(superuser=True) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_ro; SET search_path = {schema}")
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (1,)
        for forbidden in ("INSERT INTO t (m) VALUES ('ok')", "DELETE FROM t", "SELECT open()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(forbidden)  # type: ignore[arg-type]


def test_functions_that_find_things_by_search_path_still_clone(server: Server, tmp_path: Path) -> None:
    """pg_dump's own output could not be restored here."""
    result = compiled(
        server,
        tmp_path,
        "CREATE TABLE rates (r integer); INSERT INTO rates VALUES (3);"
        "CREATE FUNCTION rate() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN (SELECT r FROM rates); END $$;"
        "CREATE TABLE t (a integer, b integer GENERATED ALWAYS AS (a * rate()) STORED, CHECK (a < rate() * 100));"
        "INSERT INTO t VALUES (2);",
    )
    schema = clone(server, result)
    with server.connect(superuser=True) as conn:
        assert conn.execute(f"SELECT a, b FROM {schema}.t").fetchone() == (2, 6)
        assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
