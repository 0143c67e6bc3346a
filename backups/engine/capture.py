"""Takes a backup: one snapshot, seen by all sessions that copy; files, then the manifest."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection

from backups.engine import catalog
from backups.engine.catalog import Rows
from backups.engine.container import Part
from backups.engine.copying import Files, Job, Piece, Progress, copy_rows, pieces
from backups.engine.definition import Definition
from backups.engine.errors import SchemaChanged
from backups.engine.keys import DataKey, KeyRing
from backups.engine.looking import View, look
from backups.engine.manifest import Manifest, Table, write_manifest
from backups.engine.proof import proof_of
from backups.engine.sessions import kept
from backups.storage.base import Storage
from tenants.postgres import Dsn, translate


def capture(
    *,
    dsn: Dsn,
    schema: str,
    definition: Definition,
    storage: Storage,
    prefix: str,
    keyring: KeyRing,
    meta: Mapping[str, Any] | None = None,
    registry: Mapping[str, Any] | None = None,
    workers: int = 2,
    level: int = 1,
    lock_timeout_ms: int = 5_000,
    on_progress: Progress | None = None,
    on_alive: Callable[[], None] | None = None,
) -> Manifest:
    """Take a backup of a schema into `prefix`, whose last component is the backup's id (a UUID).

    `dsn` is a login with BYPASSRLS and the right to read; `definition` describes the schema as it is now. `meta` stands
    in the manifest in clear, `registry` is stored encrypted. `on_alive` is called twice a second; what it and
    `on_progress` raise stops the backup. Nothing is left of one that fails.
    Raises SchemaChanged when the definition is not (or not any more) the schema's, NotCovered, ClusterBusy for locks
    that are not had in time, ClusterError, StorageError.
    """
    begun = time.monotonic()
    job = Job(dsn, schema, storage, prefix, DataKey.new(prefix.rsplit("/", 1)[-1]), level, on_progress, on_alive)
    wrapped = keyring.wrap(job.key)
    with kept(dsn) as connection:
        try:
            view = look(connection, schema, lock_timeout_ms)
            manifest = _copy(job, connection, view, definition, registry, workers)
        except psycopg.Error as error:
            raise translate(error) from error
    manifest = dataclasses.replace(
        manifest,
        meta=dict(meta or {}),
        key=wrapped,
        data_key=job.key,
        milliseconds=round((time.monotonic() - begun) * 1000),
    )
    write_manifest(storage, prefix, manifest.encoded())
    return manifest


def _copy(
    job: Job,
    connection: Connection[Any],
    view: View,
    definition: Definition,
    registry: Mapping[str, Any] | None,
    workers: int,
) -> Manifest:
    """All that is copied and described inside the snapshot; the files are committed, the manifest not written."""
    if view.fingerprint != definition.source:
        raise SchemaChanged(
            f"The definition of {job.schema} is not the one its backup was to begin with.",
            hint="It was changed meanwhile, by a migration for instance. It will be tried again.",
        )
    passing = catalog.partitions(connection, job.schema, view.relations, view.series, definition.marker)
    definition = dataclasses.replace(definition, partitions=passing)
    job.expect(sum(rows.bytes for rows in view.tables))
    with Files(job) as files:
        copied = copy_rows(job, connection, pieces(view.tables), files, workers)
        described = files.put(definition.encoded())
        kept_record = files.put(json.dumps(registry).encode()) if registry is not None else None
        files.commit()
    return Manifest(
        backup=job.key.backup,
        created_at=datetime.now(UTC).isoformat(),
        snapshot_at=view.at.isoformat(),
        lsn=view.lsn,
        server_version_num=connection.info.server_version,
        encoding=view.encoding,
        schema=job.schema,
        fingerprint=view.fingerprint,
        template_fingerprint=definition.fingerprint,
        definition=described.number,
        registry=kept_record.number if kept_record else None,
        tables=_tables(view.tables, copied),
        sequences=view.sequences,
        matviews=[r.name for r in view.relations if r.kind == "m" and r.populated],
        parts=sorted(files.parts, key=lambda part: part.number),
        files=files.names,
        extensions=view.extensions,
        proof=proof_of(view.fingerprint, view.activity, view.sequences),
        meta={},
    )


def _tables(tables: list[Rows], copied: list[tuple[Piece, Part, int]]) -> list[Table]:
    """Tables with their parts in the order of their pages."""
    by_name: dict[str, list[tuple[int, Part, int]]] = {}
    for piece, part, count in copied:
        by_name.setdefault(piece.rows.name, []).append((piece.pages[0] if piece.pages else 0, part, count))
    result = []
    for rows in tables:
        mine = sorted(by_name.get(rows.name, []), key=lambda item: item[0])
        result.append(
            Table(
                rows.name, rows.target, rows.columns, rows.format, sum(count for _, _, count in mine),
                sum(part.raw for _, part, _ in mine), [part.number for _, part, _ in mine],
            )
        )  # fmt: skip
    return result
