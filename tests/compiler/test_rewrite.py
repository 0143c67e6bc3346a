"""Text that names the schema follows it; what only looks like it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenants.schemas.compiler import LiveSchema, compile_template
from tenants.schemas.compiler.rewrite import Requalifier
from tests.compiler.support import Server, clone, drop_schema

MEMBERS = {"t", "f", "Größe"}


def _decide(schema: str, member: str | None) -> str | None:
    return "m" if member is None or member in MEMBERS else None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("app.t", "m.t"),
        ("APP . t", "m . t"),
        ('"app"."Größe"', '"m"."Größe"'),
        ("x.app.t", "x.app.t"),
        ("app.unknown", "app.unknown"),
        ("app", "app"),
        ("application.t", "application.t"),
        ("'app.t'", "'m.t'"),
        ("'app'", "'app'"),
        ("'it''s app.t'", "'it''s m.t'"),
        ("$$ SELECT 'x' FROM app.t $$", "$$ SELECT 'x' FROM m.t $$"),
        ("$$ EXECUTE 'SELECT ''a'' FROM app.t' $$", "$$ EXECUTE 'SELECT ''a'' FROM m.t' $$"),
        ("'SELECT don't'", "'SELECT don't'"),
        ("'FROM app.' || name", "'FROM m.' || name"),
        ("format('app.%I', x)", "format('m.%I', x)"),
        ("format('%I.%I', 'app', x)", "format('%I.%I', 'm', x)"),
        ("nspname = 'app'", "nspname = 'm'"),
        ("table_schema = 'app'", "table_schema = 'm'"),
        ("state = 'app'", "state = 'app'"),
        ("'app'::regnamespace", "'m'::regnamespace"),
        ("set_config('search_path', 'app, public', true)", "set_config('search_path', 'm, public', true)"),
        ("SET search_path = app, pg_temp", "SET search_path = m, pg_temp"),
        ("SET search_path TO 'app', 'x'", "SET search_path TO 'm', 'x'"),
        ("E'app.t\\n'", "E'm.t\\n'"),
        ("-- app.t\n", "-- app.t\n"),
    ],
)
def test_each_way_to_name_a_schema(before: str, after: str) -> None:
    assert Requalifier(["app"], _decide, top_level=True).rewrite(before) == after


def test_only_literals_of_a_dump_are_touched() -> None:
    rewritten = Requalifier(["app"], _decide, top_level=False).rewrite("SELECT app.t FROM x app WHERE a = 'app.f(1)'")
    assert rewritten == "SELECT app.t FROM x app WHERE a = 'm.f(1)'"


def test_names_that_need_quotes() -> None:
    rewrite = Requalifier(['Mein "Schema"'], _decide, top_level=True).rewrite
    assert rewrite('"Mein ""Schema""".t') == '"m".t'
    assert rewrite('\'"Mein ""Schema"""."Größe"\'') == '\'"m"."Größe"\''


@pytest.mark.parametrize("name", ["public", 'Großes "Ding"\'s', "схема", "select"])
def test_functions_work_in_a_clone_whatever_the_schema_is_called(server: Server, name: str, tmp_path: Path) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    literal = "'" + name.replace("'", "''") + "'"
    with server.connect() as conn:
        conn.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        conn.execute(f"""
            CREATE TABLE {quoted}.t (a integer); INSERT INTO {quoted}.t VALUES (7);
            CREATE FUNCTION {quoted}.plain() RETURNS integer LANGUAGE plpgsql AS
                $f$ BEGIN RETURN (SELECT a FROM {quoted}.t); END $f$;
            CREATE FUNCTION {quoted}.dynamic() RETURNS integer LANGUAGE plpgsql AS
                $f$ DECLARE n integer; BEGIN
                    EXECUTE format('SELECT a FROM %I.%I', {literal}, 't') INTO n; RETURN n; END $f$;
            CREATE FUNCTION {quoted}.path() RETURNS integer LANGUAGE plpgsql SET search_path = {quoted} AS
                $f$ BEGIN RETURN (SELECT a FROM t); END $f$;
        """)
    try:
        result = compile_template(LiveSchema(name), dsn=server.dsn)
    finally:
        drop_schema(server, name)
        with server.connect(superuser=True) as conn:
            conn.execute("CREATE SCHEMA IF NOT EXISTS public")
    schema = clone(server, result)
    with server.connect(superuser=True) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_rw")
        query = f"SELECT {schema}.plain(), {schema}.dynamic(), {schema}.path()"
        assert conn.execute(query).fetchone() == (7, 7, 7)
