"""Backups, storages and policies as the JSON documents of commands, and how people see them. Never a secret."""

from __future__ import annotations

from typing import Any

from backups.models import Backup, ClusterArchive, Storage
from backups.retention import Entry
from backups.services.policies import Effective
from tenants.exceptions import NotFound
from tenants.management.output import Output

_UNITS = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def backup(row: Backup) -> dict[str, Any]:
    """A backup, with its copies."""
    return {
        "id": str(row.pk), "tenant": {"id": str(row.origin_id), "slug": row.slug}, "state": row.state,
        "origin": row.origin, "note": row.note, "requested_by": row.requested_by, "pinned": row.pinned,
        "keep_until": row.keep_until, "created_at": row.created_at, "snapshot_at": row.snapshot_at,
        "finished_at": row.finished_at, "unchanged_until": row.unchanged_until, "lsn": row.lsn,
        "server_version": row.server_version, "fingerprint": row.fingerprint, "key_id": row.key_id,
        "tables": row.tables, "rows": row.rows, "raw_bytes": row.raw_bytes, "stored_bytes": row.stored_bytes,
        "seconds": row.seconds, "verified_at": row.verified_at, "proven_at": row.proven_at,
        "damaged_at": row.damaged_at, "error": row.error,
        "operation": str(row.operation_id) if row.operation_id else None,
        "copies": [
            {"storage": copy.storage.name, "prefix": copy.prefix, "state": copy.state, "bytes": copy.bytes,
             "verified_at": copy.verified_at, "locked_until": copy.locked_until, "error": copy.error}
            for copy in row.copies.all()
        ],
    }  # fmt: skip


def storage(row: Storage) -> dict[str, Any]:
    """A storage."""
    return {
        "name": row.name, "kind": row.kind, "place": row.place, "state": row.state, "is_default": row.is_default,
        "config": row.config, "lock_mode": row.lock_mode, "lock_days": row.lock_days, "bandwidth": row.bandwidth,
        "concurrency": row.concurrency, "checked_at": row.checked_at, "last_error": row.last_error,
        "listed_at": row.listed_at, "unknown_count": row.unknown_count, "unknown": row.unknown,
    }  # fmt: skip


def policy(found: Effective, owner: str) -> dict[str, Any]:
    """What holds for somebody."""
    return {
        "for": owner,
        "from": str(found.source),
        "override": found.override.values if found.override else {},
        **{name: getattr(found.policy, name) for name in found.policy.__dataclass_fields__},
        "storage": found.storage.name if found.storage else None,
        "copies": [each.name for each in found.copies],
    }


def kept(entry: Entry, reasons: list[str]) -> dict[str, Any]:
    """A line of a preview."""
    return {
        "id": str(entry.id), "at": entry.at, "outcome": entry.outcome, "verified": entry.verified,
        "proven": entry.proven, "keep": bool(reasons), "reasons": reasons,
    }  # fmt: skip


def size(count: int | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "–"
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def print_backups(rows: list[dict[str, Any]], out: Output) -> None:
    """A table of backups."""
    out.table(
        ["id", "tenant", "state", "of", "rows", "stored", "seconds", "verified", "proven", "origin", "note"],
        [
            [row["id"], row["tenant"]["slug"], row["state"], row["snapshot_at"], row["rows"],
             size(row["stored_bytes"]), row["seconds"], row["verified_at"], row["proven_at"], row["origin"],
             row["note"]]
            for row in rows
        ],
    )  # fmt: skip


def find_backup(text: str) -> Backup:
    """The backup with this id. Raises NotFound."""
    from backups.services.common import get_backup

    try:
        return get_backup(text)
    except NotFound as error:
        raise NotFound(f"There is no backup '{text}'.", hint="See manage.py list_backups.") from error


def archive(row: ClusterArchive) -> dict[str, Any]:
    """A cluster's WAL archive."""
    return {
        "cluster": row.cluster.name, "state": row.state, "repository": row.repository, "directory": row.home,
        "stanza": row.stanza, "full_schedule": row.full_schedule, "diff_schedule": row.diff_schedule,
        "keep_full": row.keep_full, "earliest": row.earliest, "latest": row.latest, "checked_at": row.checked_at,
        "last_error": row.last_error, "base_backups": row.base_backups,
    }  # fmt: skip


def show_archive(document: dict[str, Any], out: Output) -> None:
    """The same for people."""
    names = ("state", "repository", "earliest", "latest", "checked_at")
    out.facts(f"Archive of {document['cluster']}", {name: document[name] for name in names})
    out.table(
        ["base backup", "kind", "ended", "size", "stored"],
        [
            [b["label"], b["kind"], b["stopped"], size(b["bytes"]), size(b["stored_bytes"])]
            for b in document["base_backups"]
        ],
    )
