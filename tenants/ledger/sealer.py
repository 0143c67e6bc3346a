"""The sealer: gives committed events their numbers and chains them.

Writers of events wait for nothing: an event is immutable from its own commit on, and gets its place in the chain
within seconds. One sealer works at a time (an advisory lock that ends with its transaction); one that dies in the
middle leaves nothing behind, and the next begins where the last commit was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from tenants.ledger.hashing import event_digest, genesis, link
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
BATCH = 5_000


def seal_pending(*, batch: int = BATCH) -> int | None:
    """Seal every committed event, `batch` at a time. Returns how many; None when another sealer is at work."""
    total = 0
    while True:
        sealed = _seal_batch(batch)
        if sealed is None:
            return total or None
        total += sealed
        if sealed < batch:
            return total


@transaction.atomic
def _seal_batch(batch: int) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["try_sealer"])
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(QUERIES["sealer_state"])
        log_id, scan_from, passed = cursor.fetchone()
        cursor.execute(QUERIES["newest_event"])
        newest = cursor.fetchone()[0]
        cursor.execute(QUERIES["unsealed"], {"scan_from": scan_from, "limit": batch})
        events = cursor.fetchall()
        if events:
            _write(cursor, log_id, events)
        complete = len(events) < batch  # else there is more before the mark
        if complete:
            cursor.execute(QUERIES["advance"], {"passed": passed, "newest": newest})
        return len(events)


def _write(cursor: Any, log_id: Any, events: Sequence[tuple[str | None, ...]]) -> None:
    cursor.execute(QUERIES["chain_end"])
    seq, previous = cursor.fetchone() or (0, genesis(log_id))
    previous = bytes(previous)
    cursor.execute(QUERIES["now"])
    (sealed_at,) = cursor.fetchone()
    with cursor.copy(QUERIES["copy_seals"]) as copy:
        for fields in events:
            seq += 1
            event_id, digest = int(str(fields[0])), event_digest(fields)
            previous = link(previous, seq, event_id, sealed_at, digest)
            copy.write_row((seq, event_id, sealed_at, digest, previous))


def lag() -> tuple[int, Any]:
    """How many events wait for their seal, and the time of the oldest of them (None when none waits)."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["waiting"])
        count, oldest = cursor.fetchone()
    return count, oldest
