"""A backup as plain files that psql replays: for whoever has to hand it on, or to read it without key and product.

restore.sql         everything but the rows, in one transaction that fetches these by \\copy
rows/0001.copy.gz   what COPY wrote of a table, or of a piece of one, compressed and no longer encrypted
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import zstandard
from psycopg import sql

from backups.engine.container import Part, read_part
from backups.engine.definition import FOREIGN, PROTECT, Definition
from backups.engine.errors import NotCovered
from backups.engine.manifest import Manifest, Table
from backups.engine.restore import read_definition
from backups.engine.sessions import column_list
from backups.storage.base import Storage, StorageError, StorageFull
from tenants.exceptions import InvalidInput
from tenants.identifiers import OWNER, READ_ONLY, READ_WRITE

# What reads a file of rows on the machine where it is replayed.
PROGRAMS = {"gz": "gzip -dc", "zst": "zstd -dc"}
SCRIPT, ROWS = "restore.sql", "rows"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,56}\Z")
Alive = Callable[[], None]


@dataclass(frozen=True)
class Exported:
    """Where it lies, and how much it is."""

    directory: Path
    schema: str
    files: int
    rows: int
    bytes: int


def check_target(directory: Path, compression: str, schema: str | None) -> None:
    """Raises InvalidInput for what cannot be written, before anything is."""
    if compression not in PROGRAMS:
        raise InvalidInput(f"Rows are compressed as {' or '.join(PROGRAMS)}.", field="compression")
    if schema is not None and not _NAME.match(schema):
        raise InvalidInput("A schema's name here has 1 to 57 characters: a-z, 0-9 and _.", field="schema")
    if directory.exists() or not directory.parent.is_dir():
        raise InvalidInput(
            f"{directory} must not exist yet, and the directory it goes into must.", field="to_file",
            hint="Name a new directory.",
        )  # fmt: skip


def export(
    *,
    storage: Storage,
    prefix: str,
    manifest: Manifest,
    directory: Path,
    schema: str | None = None,
    compression: str = "gz",
    on_alive: Alive | None = None,
) -> Exported:
    """Write the backup with this (proven) manifest below `directory`, which only its owner may read and which appears
    whole or not at all. `schema` is the name of the one that replaying it makes (default: the former one).

    Raises InvalidInput, Damaged, NotCovered, StorageError, StorageFull.
    """
    check_target(directory, compression, schema)
    partial = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.part")
    job = _Export(storage, prefix, manifest, partial, schema or manifest.schema, compression, on_alive)
    try:
        partial.mkdir(mode=0o700)
        (partial / ROWS).mkdir(mode=0o700)
        job.write()
        partial.rename(directory)
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
        raise kind(f"{directory}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = [path for path in directory.rglob("*") if path.is_file()]
    return Exported(directory, job.schema, len(files), manifest.rows, sum(path.stat().st_size for path in files))


class _Export:
    def __init__(
        self,
        storage: Storage,
        prefix: str,
        manifest: Manifest,
        target: Path,
        schema: str,
        compression: str,
        on_alive: Alive | None,
    ) -> None:
        self._storage, self._prefix, self._manifest, self._target = storage, prefix, manifest, target
        self.schema, self._compression, self._on_alive = schema, compression, on_alive
        self._definition: Definition = read_definition(storage, prefix, manifest)

    def write(self) -> None:
        """Rows first: the script is what makes it an export."""
        for table in self._manifest.tables:
            for number in table.parts:
                self._write_rows(self._manifest.part(number))
        with _private(self._target / SCRIPT) as file:
            for statement in self._script():
                file.write(statement.encode() + b"\n")

    def _write_rows(self, part: Part) -> None:
        with _private(self._target / self._file(part.number)) as file, self._compressed(file) as out:
            for block in read_part(self._storage, self._prefix, part, self._manifest.opened()):
                out.write(block)
                if self._on_alive:
                    self._on_alive()

    def _file(self, number: int) -> str:
        return f"{ROWS}/{number:04}.copy.{self._compression}"

    def _compressed(self, file: Any) -> AbstractContextManager[Any]:
        if self._compression == "zst":
            return cast(
                AbstractContextManager[Any], zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False)
            )
        return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0)

    def _script(self) -> Iterator[str]:
        manifest = self._manifest
        yield f"-- Backup {manifest.backup} of {manifest.schema} as of {manifest.snapshot_at}. NOT ENCRYPTED."
        yield f"-- PostgreSQL {manifest.server_version_num // 10_000} or newer, a superuser or the database's owner"
        yield f"-- with CREATEROLE; in this directory: psql -X -d DATABASE -f {SCRIPT}"
        yield "-- The schema must not exist. All of it is made, or nothing."
        yield "\\set ON_ERROR_STOP off"
        yield from self._needs()
        yield "\\set ON_ERROR_STOP on"
        yield "BEGIN;"
        names = {"schema": sql.Identifier(self.schema), "owner": sql.Identifier(self._role(OWNER))}
        for text in (
            "GRANT {owner} TO CURRENT_USER", "CREATE SCHEMA {schema} AUTHORIZATION {owner}", "SET LOCAL ROLE {owner}",
            "SET LOCAL client_encoding = 'UTF8'",
        ):  # fmt: skip
            yield sql.SQL(text).format(**names).as_string() + ";"
        yield self._here(self._definition.before)
        yield from [self._here(part.create) for part in self._definition.partitions]
        for table in manifest.tables:
            yield from self._copies(table)
        yield from map(self._here, self._after())
        yield "COMMIT;"

    def _needs(self) -> Iterator[str]:
        """Roles and extensions: what is there already stays as it is."""
        for suffix in (OWNER, READ_WRITE, READ_ONLY):
            yield sql.SQL("CREATE ROLE {} NOLOGIN;").format(sql.Identifier(self._role(suffix))).as_string()
        owner = sql.Identifier(self._role(OWNER))
        for name, home, _ in self._manifest.extensions:
            names = {"name": sql.Identifier(name), "home": sql.Identifier(home), "owner": owner}
            for text in (
                "CREATE SCHEMA IF NOT EXISTS {home};", "CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {home};",
                "GRANT USAGE ON SCHEMA {home} TO {owner};",
            ):  # fmt: skip
                yield sql.SQL(text).format(**names).as_string()

    def _copies(self, table: Table) -> Iterator[str]:
        into, columns = sql.Identifier(self.schema, table.target).as_string(), column_list(table.columns).as_string()
        if "\n" in into:
            raise NotCovered(f"{table.name} has a line break in its name, which psql's \\copy cannot read.")
        # Without a list they are all but generated ones in the table's order, which are these.
        into += "" if "\n" in columns else columns
        for number in table.parts:
            program = f"{PROGRAMS[self._compression]} {self._file(number)}"
            yield f"\\copy {into} FROM PROGRAM '{program}' (FORMAT {table.format})"

    def _after(self) -> Iterator[str]:
        """What comes behind the rows, in an order in which it can be done."""
        definition = self._definition
        indexes = [index for part in definition.partitions for index in part.indexes]
        rest = [after for after in definition.after if after.phase != PROTECT]
        first = next((n for n, after in enumerate(rest) if after.phase == FOREIGN), len(rest))
        yield from [index.create for index in indexes]
        yield from [after.sql for after in rest[:first]]
        yield from [index.attach for index in indexes if index.attach]
        yield from [after.sql for after in rest[first:]]
        for state in self._manifest.sequences:
            name = sql.Literal(sql.Identifier(self.schema, state.name).as_string())
            call = sql.SQL("SELECT pg_catalog.setval({}, {}, {}) \\g /dev/null")
            yield call.format(name, state.last_value, state.is_called).as_string()
        for view in definition.matviews:
            if view in self._manifest.matviews:
                yield sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(self.schema, view)).as_string()
        yield from [after.sql for after in definition.after if after.phase == PROTECT]
        yield from [text for part in definition.partitions for text in part.protect]

    def _role(self, suffix: str) -> str:
        """As the product names them, of a schema that may have any name here."""
        return f"{self.schema}_{suffix}"

    def _here(self, text: str) -> str:
        text = text.rstrip().rstrip(";").replace(self._definition.marker, self.schema)
        return text if text.endswith("\\g /dev/null") else text + ";"


def _private(path: Path) -> Any:
    """A new file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
