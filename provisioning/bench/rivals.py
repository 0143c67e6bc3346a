"""django-tenants' own ways to a tenant, on the same tables: its clone function, and migrations."""

from __future__ import annotations

import io
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection as default_connection
from django_tenants.clone import CloneSchema
from psycopg import Connection, sql

from tenants.postgres import Dsn, connect, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
connection: Any = default_connection  # django-tenants' backend, which knows schemas
APP = "bench_rival"
SEED_TIMEOUT_MS = 120_000
INVISIBLE = (
    "what inspectdb does not see: checks, generated columns, triggers, functions, views, types, most indexes",
    "seed rows",
    "row-level security, roles and grants",
    "partitions",
)
_MODEL = re.compile(r"^class (\w+)\(models\.Model\):\n((?:(?:    .*)?\n)+)", re.MULTILINE)
_FOREIGN_KEY = re.compile(
    r"^    (?P<name>\w+) = models\.(?:ForeignKey|OneToOneField)\('?(?P<target>\w+)'?,(?P<rest>.*)$", re.MULTILINE
)


def plain_schema(dsn: Dsn, directory: Path, name: str) -> int:
    """Run a template's SQL files in a schema of our own login, as a user of django-tenants would have it: no roles, no
    row-level security, no partitions. Returns the number of tables."""
    with connect(dsn, statement_timeout_ms=SEED_TIMEOUT_MS) as link:
        link.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        link.execute(sql.SQL("SET LOCAL search_path = {}, extensions").format(sql.Identifier(name)))
        for path in sorted(directory.glob("*.sql")):
            link.execute(path.read_bytes())
        row = link.execute(QUERIES["tables_of_schema"], [f'"{name}"']).fetchone()
    return int(row[0]) if row else 0


def simplify(dsn: Dsn, schema: str) -> list[str]:
    """Take away what django-tenants' clone function refuses or crashes at. Returns what that was.

    Seed rows stay in the base but are not copied (clone_mode NODATA): it gets domains over nullable columns wrong.
    """
    left_out = ["seed rows (clone_mode NODATA)", "row-level security, roles and grants", "partitions"]
    with connect(dsn) as link:
        link.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
        for kind, statements in _simplifications(link, schema):
            for statement in statements:
                link.execute(statement)
            if statements:
                left_out.append(f"{kind} ({len(statements)})")
    return left_out


def _simplifications(link: Connection[Any], schema: str) -> list[tuple[str, list[sql.Composed]]]:
    """Kinds of objects with the statements that remove them, in order. The names come quoted from the catalog."""

    def found(query: str) -> list[Any]:
        return link.execute(QUERIES[query], [f'"{schema}"']).fetchall()

    def each(query: str, text: str) -> list[sql.Composed]:
        return [sql.SQL(text).format(*(sql.SQL(part) for part in row)) for row in found(query)]

    ranges = []
    for table, column, builtin, default in found("range_columns"):
        text = "ALTER TABLE {0} ALTER {1} DROP DEFAULT, ALTER {1} TYPE {2} USING {1}::text::{2}"
        if default:
            text += ", ALTER {1} SET DEFAULT {3}::text::{2}"
        ranges.append(sql.SQL(text).format(*(sql.SQL(part) for part in (table, column, builtin, default or ""))))
    return [
        ("own range types of columns", ranges),
        ("own range types", each("range_types", "DROP TYPE {} CASCADE")),
        ("generated columns of own types", each("own_generated_columns", "ALTER TABLE {} ALTER {} DROP EXPRESSION")),
        ("aggregates", each("aggregates", "DROP AGGREGATE {} CASCADE")),
        ("comments on indexes", each("commented_indexes", "COMMENT ON INDEX {} IS NULL")),
    ]  # fmt: skip


def clone(base: str) -> None:
    """Clone `base` as django-tenants does it when a tenant is created."""
    CloneSchema().clone_schema(base, f"rival_{secrets.token_hex(8)}", "NODATA")


def migrate() -> None:
    """Make a schema and migrate TENANT_APPS into it: what `TenantMixin.create_schema` does."""
    name = f"rival_{secrets.token_hex(8)}"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE SCHEMA "{name}"')
    call_command("migrate_schemas", tenant=True, schema_name=name, interactive=False, verbosity=0)
    connection.set_schema_to_public()


def write_app(schema: str, directory: Path) -> list[str]:
    """Write a Django app with a model for each table of `schema` into `directory`, with its migration.

    Returns what the models leave out or what had to be changed in them. Raises RuntimeError with Django's words when
    it cannot be migrated.
    """
    output = io.StringIO()
    connection.set_schema(schema, include_public=False)
    try:
        call_command("inspectdb", stdout=output)
    finally:
        connection.set_schema_to_public()
    package = directory / APP
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    models, changed = usable(output.getvalue())
    (package / "models.py").write_text(models, encoding="utf-8")
    command = [sys.executable, "manage.py", "makemigrations", APP, "--verbosity", "0"]
    environment = {**os.environ, **app_environment(directory, os.environ)}
    made = subprocess.run(  # noqa: S603
        command, cwd=settings.BASE_DIR, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if made.returncode:
        raise RuntimeError(f"makemigrations refuses inspectdb's models: {made.stderr.strip()[-500:]}")
    return [*INVISIBLE, *changed]


def app_environment(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What `environment` needs so that the written app is one of TENANT_APPS."""
    path = os.pathsep.join(filter(None, [str(directory), environment.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "TENANT_APPS": APP}


def usable(text: str) -> tuple[str, list[str]]:
    """inspectdb's models as models that migrations can make: managed, and without what Django refuses."""
    text = text.replace("managed = False", "managed = True")
    composite = {model for model, body in _MODEL.findall(text) if "pk = models.CompositePrimaryKey" in body}
    changed: list[str] = []

    def plain(match: re.Match[str]) -> str:
        name, target = match["name"], match["target"]
        if target not in composite:
            return match[0]
        changed.append(f"the foreign key {name} to {target} (its key has several columns) is a plain column")
        column = re.search(r"db_column='([^']+)'", match["rest"])
        return f"    {name} = models.BigIntegerField(db_column='{column[1] if column else name + '_id'}', null=True)"

    return _FOREIGN_KEY.sub(plain, text), changed
