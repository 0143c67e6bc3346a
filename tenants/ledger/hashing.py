"""What is hashed, and how. Whoever verifies an export needs nothing but this page (docs/audit.md says it in words).

Every field is written as four bytes of length and its UTF-8; NULL as the length 0xFFFFFFFF. So no two different lists
of fields have the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from uuid import UUID

EVENT, LINK, GENESIS = "audit event v1", "audit link v1", "audit genesis v1"
NULL = b"\xff\xff\xff\xff"
# In this order; all as text, times in UTC with microseconds, JSON as PostgreSQL writes jsonb.
EVENT_FIELDS = (
    "id",
    "at",
    "action",
    "outcome",
    "actor_kind",
    "actor_id",
    "actor_label",
    "channel",
    "ip",
    "request_id",
    "tenant_id",
    "tenant_slug",
    "target_type",
    "target_id",
    "target_label",
    "before",
    "after",
    "reason",
)
_length = struct.Struct(">I").pack


def _sha256(kind: str, fields: Iterable[str | None]) -> bytes:
    parts = []
    for field in (kind, *fields):
        if field is None:
            parts.append(NULL)
        else:
            content = field.encode()
            parts.append(_length(len(content)))
            parts.append(content)
    return hashlib.sha256(b"".join(parts)).digest()


def genesis(log_id: UUID | str) -> bytes:
    """The hash before the first seal of the log with this id."""
    return _sha256(GENESIS, [str(log_id)])


def event_digest(fields: Iterable[str | None]) -> bytes:
    """The digest of one event, given its EVENT_FIELDS."""
    return _sha256(EVENT, fields)


def link(previous: bytes, seq: int, event_id: int, sealed_at: str, digest: bytes) -> bytes:
    """The hash of one seal: over the hash before it, its own number, event and time, and the event's digest."""
    return _sha256(LINK, [previous.hex(), str(seq), str(event_id), sealed_at, digest.hex()])
