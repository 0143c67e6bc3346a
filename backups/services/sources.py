"""Where a backup is read from: the first of its copies that is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backups.engine.container import read_part
from backups.engine.errors import BackupError, Damaged
from backups.engine.manifest import Manifest, read_manifest
from backups.engine.verify import verify_stored
from backups.models import Backup, BackupCopy
from backups.services.common import keyring
from backups.storage.base import Storage, StorageError
from backups.storage.opening import open_storage
from tenants.exceptions import Conflict, InvalidInput


@dataclass(frozen=True)
class Source:
    """A copy of a backup, its manifest proven."""

    copy: int
    storage: Storage
    prefix: str
    manifest: Manifest


def copies_of(backup: Backup) -> list[BackupCopy]:
    """The copies that should be whole, the primary one first. Raises Conflict when there is none."""
    if not backup.restorable:
        why = "damaged" if backup.damaged_at else backup.state
        raise Conflict(f"A backup that is {why} cannot be restored.", code="wrong_state", state=why)
    rows = backup.copies.select_related("storage").filter(state=BackupCopy.State.STORED)
    found = list(rows.order_by("-primary", "pk"))
    if not found:
        raise Conflict("No copy of the backup is there.", code="no_copy")
    return found


def open_backup(backup: Backup) -> Source:
    """The first copy whose manifest is right. Raises Damaged, KeyMissing, StorageError of the last one, Conflict."""
    return next(_opened(backup))


def whole_copy(backup: Backup, *, only: int | None = None, on_progress: Callable[[int, int], None]) -> Source:
    """The first copy of which every stored byte is right, or the copy `only`. Raises as `open_backup` does."""
    error: BackupError | None = None
    for source in _opened(backup):
        if only is not None and source.copy != only:
            continue
        try:
            verify_stored(source.storage, source.prefix, source.manifest, on_progress)
        except Damaged as failure:
            error = failure
            continue
        return source
    raise error or Conflict("No copy of the backup is there.", code="no_copy")


def _opened(backup: Backup) -> Iterator[Source]:
    error: BackupError | StorageError | None = None
    some = False
    ring = keyring()
    for copy in copies_of(backup):
        try:
            storage = open_storage(copy.storage)
            manifest = read_manifest(storage, copy.prefix, ring)
        except (BackupError, StorageError) as failure:
            error = failure
            continue
        if foreign := _foreign(backup, manifest):
            error = Damaged("manifest.json", foreign)
            continue
        some = True
        yield Source(copy.pk, storage, copy.prefix, manifest)
    if error is not None and not some:
        raise error


def _foreign(backup: Backup, manifest: Manifest) -> str:
    """Why a manifest is not the one that was written for this backup; empty when it is."""
    if manifest.schema != backup.schema_name:
        return f"it is of the schema {manifest.schema} and not of {backup.schema_name}"
    if backup.fingerprint and manifest.fingerprint != backup.fingerprint:
        return "it is not the one that was written down"
    return ""


def tables_of(source: Source) -> list[str]:
    """The tables whose rows are in it; partitions are their table's."""
    return sorted({table.target for table in source.manifest.tables})


def check_tables(source: Source, names: Sequence[str]) -> list[str]:
    """These tables, each once, if the backup has them. Raises InvalidInput."""
    known = tables_of(source)
    if not names or (unknown := sorted(set(names) - set(known))):
        raise InvalidInput(
            f"The backup has no table {unknown[0]}." if names else "Name the tables.", field="tables",
            hint=f"It has: {', '.join(known)[:300]}.",
        )  # fmt: skip
    return sorted(set(names))


def registry_record(source: Source) -> dict[str, Any] | None:
    """What the registry knew of the tenant, passwords included; None where the backup holds nothing of that.

    Raises Damaged.
    """
    if source.manifest.registry is None:
        return None
    part = source.manifest.part(source.manifest.registry)
    data = b"".join(read_part(source.storage, source.prefix, part, source.manifest.opened()))
    try:
        found = json.loads(data)
    except ValueError as error:
        raise Damaged(part.file, "the registry's record in it is no JSON") from error
    return found if isinstance(found, dict) else None
