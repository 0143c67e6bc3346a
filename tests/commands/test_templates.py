"""Importing templates by command, from everywhere they can come from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provisioning import django_apps
from provisioning.models import Template, TemplateVersion
from tenants.models import AuditEvent
from tenants.postgres import binary, connect
from tests.commands.support import call, manage, refusal, text
from tests.support.fixtures import TINY, fresh_slug

TABLES = "SELECT relname FROM pg_class WHERE relnamespace = current_schema::regnamespace AND relkind = 'r' ORDER BY 1"


def names(document: dict[str, Any]) -> list[str]:
    """The tables of a new tenant, as its login sees them."""
    with psycopg.connect(document["connection"]["dsn"]) as session:
        return [row[0] for row in session.execute(TABLES).fetchall()]


def test_import_template_from_sql_files(template: Any) -> None:
    name = fresh_slug("t")
    made = call("import_template", name, "--sql", str(TINY), "--description", "Tiny")
    assert (made["version"], made["new"], made["is_default"], made["description"]) == (1, True, False, "Tiny")
    assert made["size"]["tables"] == 2
    version = TemplateVersion.objects.get(template__name=name)
    assert made["fingerprint"] in version.fingerprints.values()
    assert AuditEvent.objects.filter(action="template.import", target_id=version.pk, actor_kind="command").exists()
    again = call("import_template", name, "--sql", str(TINY))
    assert (again["version"], again["new"]) == (1, False)
    assert names(call("create_tenant", fresh_slug(), "--template", name, "--here")) == ["customers", "orders"]


def test_a_dry_run_reports_and_keeps_nothing(template: Any) -> None:
    name = fresh_slug("t")
    dry = call("import_template", name, "--sql", str(TINY), "--dry-run", "--no-data")
    assert (dry["dry_run"], dry["version"], dry["size"]["tables"]) == (True, None, 2)
    assert dry["script_bytes"] > 500
    assert not Template.objects.filter(name=name).exists()
    assert refusal("import_template", "Bad Name", "--sql", str(TINY), "--dry-run")[0] == 2
    assert "nothing was kept" in text("import_template", name, "--sql", str(TINY), "--dry-run")


@pytest.mark.parametrize("data", [True, False])
def test_import_template_from_a_live_schema_and_from_its_dump(template: Any, cluster: Any, tmp_path: Path, data: bool):
    schema, dsn = fresh_slug("live").replace("-", "_"), cluster.dsn()
    flags = [] if data else ["--no-data"]
    with connect(dsn, autocommit=True) as session:
        session.execute(f"CREATE SCHEMA {schema} CREATE TABLE {schema}.items (id int PRIMARY KEY)")
        session.execute(f"INSERT INTO {schema}.items VALUES (7)")
        major = session.info.server_version // 10_000
    dump = tmp_path / "items.dump"
    subprocess.run(
        [str(binary("pg_dump", minimum_major=major)), "-Fc", f"--schema={schema}", f"--file={dump}"],
        env={**os.environ, **dsn.environment()}, check=True,
    )  # fmt: skip
    try:
        live = call("import_template", fresh_slug("t"), "--schema", schema, *flags)
    finally:
        with connect(dsn) as session:
            session.execute(f"DROP SCHEMA {schema} CASCADE")
    file = call("import_template", fresh_slug("t"), "--dump", str(dump), *flags)
    assert live["fingerprint"] == file["fingerprint"]
    made = call("create_tenant", fresh_slug(), "--template", file["template"], "--here")
    with psycopg.connect(made["connection"]["dsn"]) as session:
        assert session.execute("SELECT id FROM items").fetchall() == ([(7,)] if data else [])


def test_a_refusal_names_file_statement_and_reason(template: Any, tmp_path: Path) -> None:
    (tmp_path / "010_good.sql").write_text("CREATE TABLE good (id int);\n")
    (tmp_path / "020_bad.sql").write_text(
        "-- a remark\nCREATE TABLE fine (id int);\n\nCREATE TABLE bad (id nonsense);\n"
    )
    name = fresh_slug("t")
    people = manage("import_template", name, "--sql", str(tmp_path))
    assert (people.code, people.out) == (6, "")
    assert people.err.startswith("error: The template was refused.\n  at: 020_bad.sql:4\n    CREATE TABLE bad")
    assert 'reason: type "nonsense" does not exist' in people.err
    code, error = refusal("import_template", name, "--sql", str(tmp_path))
    assert code == 6
    assert (error.file, error.line) == ("020_bad.sql", 4)  # type: ignore[attr-defined]
    assert not Template.objects.filter(name=name).exists()
    assert refusal("import_template", name, "--dump", str(tmp_path / "none"))[0] == 6
    assert refusal("import_template", name, "--schema", 'no"such')[0] == 6


def test_django_apps_become_a_template(template: Any, cluster: Any) -> None:
    name = fresh_slug("apps")
    first = manage("import_template", name, "--django", "--json", TENANT_APPS="tests.example_app")
    assert first.code == 0, first.err
    assert first.document["size"]["views"] == 1
    assert "tests.example_app" in first.document["source"]
    again = manage("import_template", name, "--django", "--json", TENANT_APPS="tests.example_app")
    assert (again.document["version"], again.document["new"]) == (1, False)
    made = call("create_tenant", fresh_slug(), "--template", name, "--here")
    assert names(made) == [
        "Schlag Wörter", "django_content_type", "django_migrations", "example_author", "example_book",
        "example_book_tags",
    ]  # fmt: skip
    with psycopg.connect(made["connection"]["dsn"]) as session:
        assert session.execute('SELECT name FROM "Schlag Wörter" ORDER BY id').fetchall() == [("new",), ("used",)]
        session.execute("INSERT INTO example_author (name, email) VALUES ('Ada', 'ada@example.org')")
        book = "INSERT INTO example_book (author_id, title, price, attributes) VALUES (1, 'sketch', 120, '{}')"
        session.execute(book)
        assert session.execute("SELECT title FROM expensive_books").fetchall() == [("SKETCH",)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute(book)
    assert leftover_schemas(cluster) == []


def leftover_schemas(cluster: Any) -> list[str]:
    with connect(cluster.dsn()) as session:
        return [row[0] for row in session.execute(django_apps.OURS, [django_apps.PREFIX]).fetchall()]


def test_migrations_that_fail_are_refused_and_leave_nothing(template: Any, cluster: Any, tmp_path: Path) -> None:
    app = tmp_path / "failing_app"
    (app / "migrations").mkdir(parents=True)
    (app / "__init__.py").touch()
    (app / "migrations" / "__init__.py").touch()
    (app / "migrations" / "0001_initial.py").write_text(
        "from django.db import migrations\n"
        "class Migration(migrations.Migration):\n"
        "    operations = [migrations.RunSQL('CREATE TABLE made (id int)'), migrations.RunSQL('SELECT nonsense')]\n"
    )
    name = fresh_slug("apps")
    ran = manage("import_template", name, "--django", TENANT_APPS="failing_app", PYTHONPATH=str(tmp_path))
    assert ran.code == 6
    assert 'reason: the migrations of TENANT_APPS failed: column "nonsense" does not exist' in ran.err
    assert "failing_app.0001_initial" in ran.err
    assert not Template.objects.filter(name=name).exists()
    assert leftover_schemas(cluster) == []


def test_what_a_killed_import_left_is_dropped_and_what_is_in_use_is_not(template: Any, cluster: Any) -> None:
    dead, alive = (django_apps.PREFIX + fresh_slug("x").replace("-", "") for _ in range(2))
    dsn = cluster.dsn()
    with connect(dsn, autocommit=True) as user, connect(dsn, autocommit=True) as other:
        for name in (dead, alive):
            user.execute(f"CREATE SCHEMA {name} CREATE TABLE {name}.t (id int)")
        user.execute(django_apps.TRY_LOCK, [alive])
        assert django_apps.drop_leftovers(other) == [dead]
        assert leftover_schemas(cluster) == [alive]
        user.execute(django_apps.UNLOCK, [alive])
        assert django_apps.drop_leftovers(other) == [alive]


def test_the_default_moves_to_the_template_that_claims_it(template: Any) -> None:
    name = fresh_slug("t")
    try:
        assert call("import_template", name, "--sql", str(TINY), "--default")["is_default"]
        assert list(Template.objects.filter(is_default=True).values_list("name", flat=True)) == [name]
    finally:
        Template.objects.filter(is_default=True).update(is_default=False)
        Template.objects.filter(pk=template.template.pk).update(is_default=True)
