"""What cannot be cloned is refused with the place and the reason, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenants.schemas.compiler import DumpFile, LiveSchema, SqlDirectory, TemplateRefused, compile_template
from tests.compiler.support import Server, compiled, write_template

# (statement, a part of the reason). Each is put on line 3 of a second file.
STATEMENTS = [
    ("CREATE ROLE evil", "CREATE ROLE"),
    ("CREATE USER evil", "CREATE USER"),
    ("ALTER ROLE postgres SUPERUSER", "ALTER ROLE"),
    ("DROP GROUP evil", "DROP GROUP"),
    ("CREATE DATABASE evil", "CREATE DATABASE"),
    ("CREATE TABLESPACE evil LOCATION '/'", "CREATE TABLESPACE"),
    ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION"),
    ("CREATE PUBLICATION p FOR ALL TABLES", "CREATE PUBLICATION"),
    ("CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()", "CREATE EVENT TRIGGER"),
    ("CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE SERVER"),
    ("CREATE FOREIGN DATA WRAPPER w", "CREATE FOREIGN DATA WRAPPER"),
    ("CREATE FOREIGN TABLE f (a integer) SERVER s", "CREATE FOREIGN TABLE"),
    ("IMPORT FOREIGN SCHEMA x FROM SERVER s INTO y", "IMPORT FOREIGN SCHEMA"),
    ("CREATE TRUSTED PROCEDURAL LANGUAGE plx", "LANGUAGE"),
    ("CREATE OR REPLACE LANGUAGE plx", "LANGUAGE"),
    ("CREATE CAST (text AS integer) WITH INOUT", "CREATE CAST"),
    ("CREATE ACCESS METHOD m TYPE TABLE HANDLER h", "CREATE ACCESS METHOD"),
    ("CREATE OPERATOR CLASS c FOR TYPE integer USING btree AS STORAGE integer", "CREATE OPERATOR CLASS"),
    ("CREATE OPERATOR FAMILY f USING btree", "CREATE OPERATOR FAMILY"),
    ("ALTER SYSTEM SET work_mem = '1GB'", "ALTER SYSTEM"),
    ("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL"),
    ("COPY t TO '/etc/passwd'", "COPY"),
    ("COPY t FROM '/etc/passwd'", "COPY"),
    ("COPY t FROM PROGRAM 'id'", "PROGRAM"),
    ("COPY (SELECT 1) TO PROGRAM 'id'", "PROGRAM"),
    ("COPY t TO STDOUT", "COPY"),
    ("LOAD 'x'", "LOAD"),
    ("VACUUM", "VACUUM"),
    ("BEGIN", "transaction"),
    ("start transaction", "transaction"),
    ("COMMIT", "transaction"),
    ("SAVEPOINT s", "transaction"),
    ("CREATE INDEX CONCURRENTLY i ON t (a)", "CONCURRENTLY"),
    ("SET ROLE postgres", "SET ROLE"),
    ("RESET ROLE", "RESET ROLE"),
    ("SET standard_conforming_strings = off", "standard_conforming_strings"),
    ("GRANT pg_monitor TO CURRENT_USER", "GRANT"),
    ("DROP EXTENSION plpgsql", "DROP EXTENSION"),
    ("CREATE FUNCTION g() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", "SECURITY DEFINER"),
    ("ALTER FUNCTION f() SECURITY DEFINER", "SECURITY DEFINER"),
    ("CREATE FUNCTION g() RETURNS integer LANGUAGE c AS 'x', 'y'", "LANGUAGE c"),
    ("CREATE TYPE b (INPUT = f, OUTPUT = g)", "superuser"),
    ("CREATE POLICY p ON t TO somebody USING (true)", "somebody"),
    ("CREATE POLICY p ON t FOR SELECT TO PUBLIC, CURRENT_USER USING (true)", "current_user"),
    (r"\connect postgres", r"\connect"),
    (r"\! id", r"\!"),
    ("SELECT 'never ends", "unterminated"),
    ("CREATE SCHEMA x CREATE TABLE y (a integer)", "CREATE SCHEMA"),
    # Left to the server, whose words are kept.
    ("SELECT 1/0", "division by zero"),
    ("CREATE TABLE u (a nonsense)", "nonsense"),
    ("SELEKT 1", "syntax error"),
    ("DO $$ BEGIN CREATE ROLE evil; END $$", "permission denied"),
    ("DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$", "permission denied"),
    ("SELECT pg_read_file('/etc/passwd')", "permission denied"),
]


def _remains(server: Server, names: list[str]) -> list[str]:
    with server.connect() as conn:
        rows = conn.execute(
            "SELECT name FROM (SELECT datname::text AS name FROM pg_database UNION ALL"
            " SELECT rolname::text FROM pg_roles) n WHERE name = 'evil'"
            " OR EXISTS (SELECT FROM unnest(%(n)s::text[]) x WHERE starts_with(name, x))",
            {"n": names},
        ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize(("statement", "reason"), STATEMENTS, ids=[s for s, _ in STATEMENTS])
def test_statements_that_are_refused(
    newest: Server, tmp_path: Path, scratch_names: list[str], statement: str, reason: str
) -> None:
    first = "CREATE TABLE t (a integer);\nCREATE FUNCTION f() RETURNS integer LANGUAGE sql RETURN 1;\n"
    with pytest.raises(TemplateRefused) as caught:
        compiled(newest, tmp_path, first, f"-- two lines\n\n{statement};\n")
    error = caught.value
    assert (error.file, error.line) == ("02.sql", 3)
    assert reason.lower() in error.reason.lower()
    if error.statement is not None:
        assert error.statement.startswith(statement.split("\n")[0][:10])
    assert _remains(newest, scratch_names) == []


# (files, a part of the reason): known only once everything is there.
WHOLES = [
    ("CREATE TABLE t (a integer); CREATE SCHEMA other; CREATE TABLE other.u (a integer);", "2 schemas"),
    ("CREATE TABLE t (a integer); CREATE TABLE extensions.u (a integer);", "extensions"),
    ("CREATE SCHEMA lonely;", "no objects"),
    ("CREATE TABLE t (a integer); SELECT lo_create(4711);", "large object"),
    (
        "CREATE TABLE t (a integer);"
        "DO $$ BEGIN EXECUTE 'CREATE FUNCTION g() RETURNS integer LANGUAGE sql SECURITY DEFINER RETURN 1'; END $$",
        "SECURITY DEFINER",
    ),
    ("CREATE TABLE t (a integer); DO $$ BEGIN CREATE POLICY p ON t TO CURRENT_USER; END $$", "policy"),
    ("CREATE TABLE t (a integer); CREATE POLICY tenant_owner ON t USING (true);", "policy"),
    ("CREATE TABLE t (a integer); DO $$ BEGIN CREATE PUBLICATION p FOR TABLE t; END $$", "publication"),
    (
        "CREATE TABLE t (a integer PRIMARY KEY);"
        "CREATE TABLE u (a integer REFERENCES t DEFERRABLE INITIALLY DEFERRED); INSERT INTO u VALUES (1);",
        "foreign key",
    ),
    # A function that works here only because of what it finds on its way: nothing a clone can rely on.
    (
        "CREATE FUNCTION g() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN nullif(strpos(current_schemas(false)::text, 'small'), 0); END $$;"
        "CREATE TABLE t (a integer, b integer GENERATED ALWAYS AS (g()) STORED NOT NULL); INSERT INTO t VALUES (1);",
        "cannot be cloned",
    ),
]


@pytest.mark.parametrize(("text", "reason"), WHOLES, ids=[reason for _, reason in WHOLES])
def test_wholes_that_are_refused(
    newest: Server, tmp_path: Path, scratch_names: list[str], text: str, reason: str
) -> None:
    with pytest.raises(TemplateRefused) as caught:
        compiled(newest, tmp_path, text)
    assert reason.lower() in caught.value.reason.lower()
    assert _remains(newest, scratch_names) == []


def test_nothing_stays_of_a_success_either(server: Server, tmp_path: Path, scratch_names: list[str]) -> None:
    compiled(server, tmp_path, "CREATE TABLE t (a integer);")
    assert len(scratch_names) == 1
    assert _remains(server, scratch_names) == []


def test_foreign_sql_is_nobody(newest: Server, tmp_path: Path) -> None:
    """It runs in a session of its own login: giving up a role would gain nothing."""
    with pytest.raises(TemplateRefused) as caught:
        compiled(
            newest,
            tmp_path,
            "CREATE TABLE t (a text); DO $$ BEGIN EXECUTE 'RESET ROLE'; EXECUTE 'RESET SESSION AUTHORIZATION';"
            " RAISE EXCEPTION 'i am % of %', session_user, (SELECT array_agg(rolname) FROM pg_roles"
            " WHERE pg_has_role(session_user, oid, 'MEMBER') AND (rolcreaterole OR rolcreatedb OR rolsuper)); END $$",
        )
    assert caught.value.reason.startswith("i am cpimport_")
    assert caught.value.reason.endswith("of <NULL>")


def test_others_cannot_connect_to_the_scratch_database(newest: Server, tmp_path: Path) -> None:
    with pytest.raises(TemplateRefused, match="grantees: <NULL>"):
        compiled(
            newest,
            tmp_path,
            "CREATE TABLE t (a text); DO $$ BEGIN RAISE EXCEPTION 'grantees: %', (SELECT array_agg(grantee) FROM"
            " pg_database, aclexplode(datacl) WHERE datname = current_database() AND grantee <> datdba); END $$",
        )


def test_the_line_inside_a_long_statement(newest: Server, tmp_path: Path) -> None:
    with pytest.raises(TemplateRefused) as caught:
        compiled(newest, tmp_path, "CREATE TABLE t (\n  a integer,\n  b nonsense\n);")
    assert (caught.value.file, caught.value.line) == ("01.sql", 3)


def test_the_statement_that_makes_something_in_a_second_schema(newest: Server, tmp_path: Path) -> None:
    with pytest.raises(TemplateRefused) as caught:
        compiled(
            newest, tmp_path, 'CREATE TABLE a (i int);\nCREATE TABLE b (i int);\nCREATE TABLE "public" . c (i int);'
        )
    assert "2 schemas" in caught.value.reason
    assert (caught.value.file, caught.value.line) == ("01.sql", 3)


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"SELECT 1;\n\xff\xfe", 2), (b"SELECT 1;\n\nSELECT '\x00';", 3)],
)
def test_files_that_are_not_text(newest: Server, tmp_path: Path, content: bytes, line: int) -> None:
    source = write_template(tmp_path / "small", "SELECT 1;")
    (tmp_path / "small" / "02.sql").write_bytes(content)
    with pytest.raises(TemplateRefused) as caught:
        compile_template(source, dsn=newest.dsn)
    assert (caught.value.file, caught.value.line) == ("02.sql", line)


def test_sources_that_are_not_there(newest: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").write_bytes(b"PGDMP\x01garbage")
    for source, reason in [
        (SqlDirectory(tmp_path / "missing"), "not a directory"),
        (SqlDirectory(tmp_path / "empty"), "no .sql files"),
        (DumpFile(tmp_path / "missing"), "does not exist"),
        (DumpFile(tmp_path / "broken"), "pg_restore cannot read it"),
        (LiveSchema("missing"), "no schema 'missing'"),
    ]:
        with pytest.raises(TemplateRefused, match=reason):
            compile_template(source, dsn=newest.dsn)


MANIFESTS = [
    ("descripton = 'x'", "unknown key 'descripton'"),
    ("description = 1", "description must be text"),
    ("description = ", "not valid TOML"),
    ("timeseries = 1", "timeseries must be written"),
    ("[[timeseries]]\ntable = 't'", "missing"),
    (
        "[[timeseries]]\ntable='t'\ncolumn='at'\ninterval='1 day'\nretention='9 days'\npremake=1\nmore=1",
        "unknown key 'more'",
    ),
    ("[[timeseries]]\ntable='t'\ncolumn='at'\ninterval='a day'\nretention='9 days'\npremake=1", "interval"),
    ("[[timeseries]]\ntable='t'\ncolumn='at'\ninterval='1 day'\nretention='9 days'\npremake=0", "premake"),
    (
        "[[timeseries]]\ntable='t'\ncolumn='at'\ninterval='1 month'\nretention='9 days'\npremake=1",
        "retention is short",
    ),
    ("[[timeseries]]\ntable='missing'\ncolumn='at'\ninterval='1 day'\nretention='9 days'\npremake=1", "no such table"),
    ("[[timeseries]]\ntable='t'\ncolumn='id'\ninterval='1 day'\nretention='9 days'\npremake=1", "not partitioned"),
    ("[[timeseries]]\ntable='plain'\ncolumn='at'\ninterval='1 day'\nretention='9 days'\npremake=1", "not partitioned"),
    ("[[timeseries]]\ntable='days'\ncolumn='at'\ninterval='1 hour'\nretention='9 days'\npremake=1", "cannot divide"),
    ("[[timeseries]]\ntable='full'\ncolumn='at'\ninterval='1 day'\nretention='9 days'\npremake=1", "holds rows"),
]


@pytest.mark.parametrize(("manifest", "reason"), MANIFESTS, ids=[reason for _, reason in MANIFESTS])
def test_manifests_that_are_refused(newest: Server, tmp_path: Path, manifest: str, reason: str) -> None:
    with pytest.raises(TemplateRefused) as caught:
        compiled(
            newest,
            tmp_path,
            "CREATE TABLE t (id integer, at timestamptz NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE days (at date NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE plain (at timestamptz);"
            'CREATE TABLE full_ (a integer); CREATE TABLE "full" (at date NOT NULL) PARTITION BY RANGE (at);'
            'CREATE TABLE part PARTITION OF "full" DEFAULT; INSERT INTO "full" VALUES (\'2020-01-01\');',
            manifest=manifest,
        )
    assert caught.value.file == "template.toml"
    assert reason in caught.value.reason
