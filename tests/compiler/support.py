"""Independent ways to load, clone and dump a template, so that the compiler is not its own witness."""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from tenants.identifiers import new_schema_name
from tenants.postgres import Dsn, binary
from tenants.schemas.compiler import CompiledTemplate, SqlDirectory, compile_template, render

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "tests" / "templates"
TRADING = ROOT / "provisioning" / "reference" / "trading"
SUFFIXES = ("owner", "rw", "ro")


@dataclass(frozen=True)
class Server:
    """A database on one server, as the control plane and as a superuser."""

    dsn: Dsn
    superuser: Dsn
    major: int
    roles: list[str] = field(default_factory=list, compare=False)

    def connect(self, *, superuser: bool = False) -> psycopg.Connection:
        dsn = self.superuser if superuser else self.dsn
        return psycopg.connect(dsn.conninfo(), autocommit=True)


def dsn_of(url: str) -> Dsn:
    """The Dsn of a URL."""
    given = conninfo.conninfo_to_dict(url)
    return Dsn(
        host=str(given["host"]),
        port=int(str(given.get("port", 5432))),
        dbname=str(given["dbname"]),
        user=str(given["user"]),
        password=str(given.get("password", "")),
    )


def kitchen_sink(major: int, target: Path) -> Path:
    """The kitchen sink with what only this major can do, in one directory."""
    directory = target / "kitchen_sink"
    directory.mkdir()
    for source in (TEMPLATES / "kitchen_sink", TEMPLATES / f"kitchen_sink_{major}"):
        for file in source.glob("*.sql"):
            shutil.copy(file, directory)
    return directory


def write_template(directory: Path, *files: str, manifest: str | None = None) -> SqlDirectory:
    """A template of these files, called `01.sql` and so on."""
    directory.mkdir(exist_ok=True)
    for number, text in enumerate(files, 1):
        (directory / f"{number:02}.sql").write_text(text, encoding="utf-8")
    if manifest is not None:
        (directory / "template.toml").write_text(manifest, encoding="utf-8")
    return SqlDirectory(directory)


def compiled(server: Server, directory: Path, *files: str, manifest: str | None = None) -> CompiledTemplate:
    """A small template, compiled."""
    return compile_template(write_template(directory / "small", *files, manifest=manifest), dsn=server.dsn)


def make_roles(server: Server, schema: str) -> None:
    """The roles of a clone, the control plane a member of its owner."""
    with server.connect() as conn:
        for suffix in SUFFIXES:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(f"{schema}_{suffix}")))
            server.roles.append(f"{schema}_{suffix}")
        options = " WITH INHERIT FALSE, SET TRUE" if server.major >= 16 else ""
        conn.execute(f"GRANT {schema}_owner TO CURRENT_USER{options}")


def clone(server: Server, template: CompiledTemplate) -> str:
    """A clone made as the control plane makes one; its schema's name."""
    schema = new_schema_name()
    make_roles(server, schema)
    with server.connect() as conn, conn.transaction():
        conn.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner; SET LOCAL ROLE {schema}_owner")
        conn.execute(render(template.script, template.marker, schema).encode())
    return schema


def load_plainly(server: Server, directory: Path, schema: str) -> None:
    """The template under its own name: each file sent whole, no part of the compiler involved."""
    with server.connect() as conn:
        if not any("CREATE SCHEMA" in file.read_text() for file in directory.glob("*.sql")):
            conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        conn.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        for file in sorted(directory.glob("*.sql")):
            conn.execute(file.read_bytes())


def drop_schema(server: Server, schema: str) -> None:
    with server.connect(superuser=True) as conn:
        conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def pg_dump(dsn: Dsn, *arguments: str, major: int) -> str:
    """What pg_dump writes."""
    command = [str(binary("pg_dump", minimum_major=major)), *arguments]
    done = subprocess.run(command, env={**os.environ, **dsn.environment()}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


_ROW_SECURITY = re.compile(
    r"^(?:CREATE POLICY|COMMENT ON POLICY) .*?;\n|^ALTER TABLE (?:ONLY )?[^\n]* (?:ENABLE|FORCE) ROW LEVEL SECURITY;\n",
    re.MULTILINE | re.DOTALL,
)
_FRAME = re.compile(r"^(?:--.*|\\(?:un)?restrict .*|)\n", re.MULTILINE)


def schema_dump(server: Server, schema: str) -> str:
    """pg_dump --schema-only of one schema; owners, grants and row-level security aside."""
    text = pg_dump(
        server.superuser, "--schema-only", "--no-owner", "--no-privileges", f"--schema={schema}", major=server.major
    )
    return _FRAME.sub("", _ROW_SECURITY.sub("", text))


def data_dump(server: Server, schema: str, name: str) -> list[str]:
    """All rows and the sequences' positions, the schema called `name`; sorted, since tables with circular keys come in
    any order."""
    text = pg_dump(server.superuser, "--data-only", "--inserts", f"--schema={schema}", major=server.major)
    return sorted(_FRAME.sub("", text).replace(f"{schema}.", f"{name}.").splitlines())


def renamed(template: CompiledTemplate, **changes: object) -> CompiledTemplate:
    """A copy with some fields changed."""
    return dataclasses.replace(template, **changes)  # type: ignore[arg-type]


def fresh_name(stem: str) -> str:
    return f"{stem}_{secrets.token_hex(4)}"
