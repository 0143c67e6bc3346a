"""Makes a schema out of a backup, under a name that is free: definition, rows, indexes, keys, protection, proof."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups.engine.catalog import QUERIES
from backups.engine.container import read_part
from backups.engine.definition import FOREIGN, INDEX, OTHER, PROTECT, After, Definition
from backups.engine.errors import BackupError, Damaged, RestoreMismatch
from backups.engine.keys import KeyRing
from backups.engine.loading import Loader
from backups.engine.manifest import Manifest, Table, read_manifest
from backups.engine.schedule import Task, run_all
from backups.engine.sessions import opened
from backups.engine.verify import verify_stored
from backups.storage.base import Storage
from tenants import schemas
from tenants.exceptions import Conflict, ControlPlaneError, LeaseLost, NotFound
from tenants.identifiers import OWNER, READ_ONLY, READ_WRITE, role_name
from tenants.postgres import Dsn, translate
from tenants.schemas import roles
from tenants.schemas.compiler import fingerprints, measure_fingerprint

log = logging.getLogger(__name__)
SORTING_MB = 256  # of the server's memory for each session that builds indexes, unless it gives more anyway
# Called with (bytes loaded, bytes to load, rows loaded); raising stops the restore, which takes its schema away again.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Restored:
    """What a restore made, and how long it took (in seconds)."""

    manifest: Manifest
    rows: int
    fingerprint: str
    seconds: float


def restore(
    *,
    dsn: Dsn,
    schema: str,
    storage: Storage,
    prefix: str,
    keyring: KeyRing,
    tables: Sequence[str] | None = None,
    workers: int = 2,
    ordered: bool = False,
    on_progress: Progress | None = None,
    on_alive: Callable[[], None] | None = None,
) -> Restored:
    """Make the schema `schema`, whose roles exist and which does not, from the backup below `prefix`.

    `dsn` is the control plane's login. Everything is read and proven against the manifest before anything is touched.
    `tables` brings the rows of these alone, without foreign keys and contents of materialized views; `ordered` keeps
    the rows of big tables in their order, so that `compare_content` can compare them. When it fails the schema is taken
    away again.
    Raises Damaged, KeyMissing, NotFound (a table, the roles), Conflict (the schema is there), RestoreMismatch,
    ClusterError.
    """
    begun = time.monotonic()
    manifest = read_manifest(storage, prefix, keyring)
    chosen = _chosen(manifest, tables)
    verify_stored(storage, prefix, manifest, lambda *_: on_alive() if on_alive else None)
    definition = read_definition(storage, prefix, manifest)
    job = _Restore(dsn, schema, manifest, definition, storage, prefix, workers, on_progress, on_alive)
    try:
        with opened(dsn) as connection:
            job.check(connection)
            with _owned(connection, dsn, schema):
                job.make(connection)
                try:
                    job.fill(connection, chosen, complete=tables is None, ordered=ordered)
                    found = job.prove(connection, complete=tables is None)
                except BaseException:
                    job.take_away()
                    raise
    except psycopg.Error as error:
        raise translate(error) from error
    return Restored(manifest, job.loader.rows, found, time.monotonic() - begun)


def read_definition(storage: Storage, prefix: str, manifest: Manifest) -> Definition:
    """The definition that is in a backup. Raises Damaged."""
    part = manifest.part(manifest.definition)
    data = b"".join(read_part(storage, prefix, part, manifest.opened()))
    try:
        return Definition.decoded(data)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(part.file, "its definition is not of this format") from error


def _chosen(manifest: Manifest, names: Sequence[str] | None) -> list[Table]:
    if names is None:
        return manifest.tables
    known = {table.name for table in manifest.tables} | {table.target for table in manifest.tables}
    if unknown := sorted(set(names) - known):
        raise NotFound(f"The backup has no table {unknown[0]}.", code="table_missing")
    return [table for table in manifest.tables if table.name in names or table.target in names]


@contextlib.contextmanager
def _owned(connection: Connection[Any], dsn: Dsn, schema: str) -> Iterator[None]:
    """The control plane's login may act as the schema's owner: on all its sessions, hence committed."""
    roles.take_owner(connection, schema)
    try:
        yield
    finally:
        try:
            if connection.closed:
                with opened(dsn) as another:
                    another.execute(roles.QUERIES["release_owner"], [schema])
            else:
                connection.execute("RESET ROLE")
                connection.execute(roles.QUERIES["release_owner"], [schema])
        except (psycopg.Error, ControlPlaneError):
            log.exception("the login stays a member of the owner of %s until its roles are dropped", schema)


class _Restore:
    """One restore: what it knows, and its steps in order."""

    def __init__(
        self,
        dsn: Dsn,
        schema: str,
        manifest: Manifest,
        definition: Definition,
        storage: Storage,
        prefix: str,
        workers: int,
        on_progress: Progress | None,
        on_alive: Callable[[], None] | None,
    ) -> None:
        self._dsn, self._schema, self._manifest, self._definition = dsn, schema, manifest, definition
        self._workers, self._on_progress, self._on_alive = workers, on_progress, on_alive
        self._owner = sql.Identifier(role_name(schema, OWNER))
        self.loader = Loader(storage, prefix, manifest, definition, schema)
        self._late: set[int] = set()
        self._lock = threading.Lock()
        self._total = 0

    def check(self, connection: Connection[Any]) -> None:
        """Whether this server can have it, and the place is free."""
        major, theirs = connection.info.server_version // 10_000, self._manifest.server_version_num // 10_000
        if major < theirs:
            raise BackupError(
                f"The backup is of PostgreSQL {theirs} and the server is {major}.",
                code="server_older", status=422, hint="Restore into the same or a newer major version.",
            )  # fmt: skip
        if schemas.exists(connection, self._schema):
            raise Conflict(f"The schema {self._schema} exists already.", code="schema_exists")
        if role_name(self._schema, OWNER) not in roles.existing(connection, self._schema):
            raise NotFound(f"The roles of {self._schema} do not exist.", code="roles_missing")

    def make(self, connection: Connection[Any]) -> None:
        """The schema with all that rows need, in one transaction."""
        groups = sql.SQL(", ").join(sql.Identifier(role_name(self._schema, s)) for s in (READ_WRITE, READ_ONLY))
        names = {"schema": sql.Identifier(self._schema), "owner": self._owner, "groups": groups}
        create = (
            "CREATE SCHEMA {schema} AUTHORIZATION {owner}; SET ROLE {owner}; GRANT USAGE ON SCHEMA {schema} TO {groups}"
        )
        partitions = [part.create for part in self._definition.partitions]
        with connection.transaction():
            connection.execute(sql.SQL(create).format(**names))
            self._send(connection, [self._definition.before, *partitions])

    def fill(self, connection: Connection[Any], tables: list[Table], *, complete: bool, ordered: bool) -> None:
        """Rows, then everything that comes after them."""
        self._total = sum(table.raw for table in tables)
        loads = self.loader.tasks(tables, workers=self._workers, ordered=ordered)
        sizes = {table.name: table.raw for table in tables}
        self._run([*loads, *self._indexes(sizes), *self._analyses(tables)])
        self.loader.check(tables)
        sequence = self._sequence(complete)
        keys = [position for position, after in enumerate(sequence) if after.phase == FOREIGN]
        first = keys[0] if keys else len(sequence)
        self._in_one(connection, [after.sql for after in sequence[:first]])
        self._run([self._key(after, sizes) for after in sorted_keys(sequence, sizes)])
        rest = [after for after in sequence[first:] if after.phase != FOREIGN]
        self._in_one(connection, [after.sql for after in rest if after.phase != PROTECT])
        self._in_one(connection, [*self._positions(), *(self._fillings() if complete else [])])
        protection = [text for part in self._definition.partitions for text in part.protect]
        self._in_one(connection, [*[after.sql for after in rest if after.phase == PROTECT], *protection])

    def _sequence(self, complete: bool) -> list[After]:
        """What is done in its order: all but indexes, except those that had to wait."""
        late = [
            after
            for position, after in enumerate(self._definition.after)
            if (after.phase != INDEX or position in self._late) and (complete or after.phase != FOREIGN)
        ]
        attach = [
            After(index.attach, OTHER) for part in self._definition.partitions for index in part.indexes if index.attach
        ]
        # Partitions' indexes become their parents' before anything refers to these.
        return [*attach, *late]

    def _indexes(self, sizes: dict[str, int]) -> list[Task]:
        """Indexes and the constraints that are ones, those of large tables first."""
        wanted = [
            (sizes.get(after.tables[0], 0), self._index(position, after))
            for position, after in enumerate(self._definition.after)
            if after.phase == INDEX
        ]
        for part in self._definition.partitions:
            for index in part.indexes:
                after = After(index.create, INDEX, [part.name])
                wanted.append((sizes.get(part.name, 0), self._index(None, after)))
        return [task for _, task in sorted(wanted, key=lambda item: -item[0])]

    def _index(self, position: int | None, after: After) -> Task:
        tables = frozenset(after.tables)
        exclusive = not after.sql.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))
        return Task(partial(self._build, position, after.sql), needs=tables, tables=tables, exclusive=exclusive)

    def _build(self, position: int | None, text: str, connection: Connection[Any]) -> None:
        """One index. What it needs may come later (a materialized view that needs a key): then it waits."""
        try:
            self._in_one(connection, [text])
        except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
            if position is None:
                raise
            with self._lock:
                self._late.add(position)

    def _analyses(self, tables: list[Table]) -> list[Task]:
        """Statistics for the planner."""
        return [
            Task(
                partial(self._analyze, table.name),
                needs=frozenset({table.name}), tables=frozenset({table.name}), exclusive=True,
            )
            for table in sorted(tables, key=lambda t: -t.raw)
            if table.rows
        ]  # fmt: skip

    def _analyze(self, name: str, connection: Connection[Any]) -> None:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self._schema, name)))

    def _key(self, after: After, sizes: dict[str, int]) -> Task:
        return Task(partial(self._check_key, after.sql), tables=frozenset(after.tables), exclusive=True)

    def _check_key(self, text: str, connection: Connection[Any]) -> None:
        self._in_one(connection, [text])

    def _positions(self) -> list[str]:
        """Where the sequences stand."""
        return [
            sql.SQL("SELECT pg_catalog.setval({}::regclass, {}, {})")
            .format(sql.Literal(sql.Identifier(self._schema, s.name).as_string()), s.last_value, s.is_called)
            .as_string()
            for s in self._manifest.sequences
        ]

    def _fillings(self) -> list[str]:
        """Materialized views that held rows, in an order in which they can be filled."""
        return [
            sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(self._schema, name)).as_string()
            for name in self._definition.matviews
            if name in self._manifest.matviews
        ]

    def prove(self, connection: Connection[Any], *, complete: bool) -> str:
        """The schema's fingerprint, which must be the definition's if nothing was left out. Raises RestoreMismatch."""
        connection.execute("RESET ROLE")
        found = fingerprints(connection, [self._schema])[self._schema]
        expected = self._definition.fingerprint
        if connection.info.server_version // 10_000 != self._manifest.server_version_num // 10_000:
            expected = measure_fingerprint(self._definition.script(), self._definition.marker, dsn=self._dsn)
        if complete and found != expected:
            raise RestoreMismatch(f"{self._schema} is not what the backup describes: its fingerprint differs.")
        return found

    def take_away(self) -> None:
        """Leave nothing of a restore that failed; its roles are the caller's, and so is a schema that somebody else has
        begun to make meanwhile."""
        self.loader.stopped = True
        try:
            if self._on_alive:
                self._on_alive()
        except LeaseLost:
            return
        except ControlPlaneError:
            pass  # cancelled, which is why it is taken away
        try:
            with opened(self._dsn) as connection:
                schemas.drop(connection, self._schema)
        except (psycopg.Error, ControlPlaneError):
            log.exception("the schema %s of a failed restore could not be dropped", self._schema)

    @contextlib.contextmanager
    def _session(self) -> Iterator[Connection[Any]]:
        with opened(self._dsn) as connection:
            # What a crash loses here is a schema that nobody uses yet; indexes are most of the work.
            connection.execute(sql.SQL("SET ROLE {}; SET synchronous_commit = off").format(self._owner))
            connection.execute(QUERIES["sorting_memory"], [SORTING_MB])
            yield connection

    def _run(self, tasks: list[Task]) -> None:
        if tasks:
            run_all(tasks, self._session, workers=self._workers, tell=self._tell)

    def _tell(self) -> None:
        try:
            if self._on_alive:
                self._on_alive()
            if self._on_progress:
                self._on_progress(self.loader.bytes, max(self._total, self.loader.bytes), self.loader.rows)
        except BaseException:
            self.loader.stopped = True
            raise

    def _in_one(self, connection: Connection[Any], texts: Sequence[str]) -> None:
        if not texts:
            return
        with connection.transaction():
            self._send(connection, [self._definition.settings.rstrip(";\n"), *texts])

    def _send(self, connection: Connection[Any], texts: Sequence[str]) -> None:
        """Statements as one message, the marker, which means nothing else, replaced by the schema's name."""
        script = ";\n".join(texts).replace(self._definition.marker, self._schema)
        connection.execute(script.encode())


def sorted_keys(sequence: Sequence[After], sizes: dict[str, int]) -> list[After]:
    """Foreign keys, those of large tables first."""
    keys = [after for after in sequence if after.phase == FOREIGN]
    return sorted(keys, key=lambda after: -sizes.get(after.tables[0], 0) if after.tables else 0)
