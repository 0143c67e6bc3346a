"""Taking a part of the log out: for spreadsheets, and for people who want to verify it themselves.

The proof: each run of seals between two signed checkpoints is given whole, the events that were asked for with all
their fields, the others by their digests only. So a reader can compute the chain from one signature to the next, and
learns nothing of events that are none of their business. docs/audit.md describes the lines, and
scripts/verify_audit_export.py is a reader.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import InvalidInput
from tenants.ledger.chain import QUERIES, STRETCH
from tenants.ledger.documents import Checkpoint, canonical, parse
from tenants.ledger.hashing import EVENT_FIELDS
from tenants.ledger.keys import printable, public_keys
from tenants.ledger.verification import snapshot
from tenants.models import AuditCheckpoint, AuditEvent, AuditSeal, AuditSealer

KIND = "audit export v1"
FORMATS = ("csv", "jsonl")
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def export(
    events: QuerySet[AuditEvent], *, kind: str, described: Mapping[str, str], actor: Actor, source: Source
) -> Iterator[str]:
    """The lines of an export, `csv` (newest first) or `jsonl` (with proof, in the order of the chain).

    `described` is the filter, for the reader. That it was taken out is recorded before the first line. Raises
    InvalidInput for another kind.
    """
    if kind not in FORMATS:
        raise InvalidInput(f"The format is {' or '.join(FORMATS)}.", field="as")
    audit.record("audit.export", actor=actor, source=source, after={"format": kind, "filter": dict(described)})
    return _csv(events) if kind == "csv" else _proven(events, described)


def response(lines: Iterator[str], kind: str) -> StreamingHttpResponse:
    """The lines as a file to download."""
    name = f"audit-{timezone.now():%Y%m%d-%H%M%S}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(lines, content_type=MEDIA_TYPES[kind], headers=headers)


def _csv(events: QuerySet[AuditEvent]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(EVENT_FIELDS)
    for event in events.order_by("-at", "-id").iterator(chunk_size=2_000):
        writer.writerow([harmless(_text(getattr(event, name))) for name in EVENT_FIELDS])
        if buffer.tell() > 32_768:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def harmless(text: str) -> str:
    """The text as no spreadsheet will compute it: an apostrophe before what could be a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _line(**body: Any) -> str:
    return canonical(body) + "\n"


def _proven(events: QuerySet[AuditEvent], described: Mapping[str, str]) -> Iterator[str]:
    keys = [printable(key) for key in public_keys().values()]
    yield _line(
        kind=KIND,
        log=str(AuditSealer.objects.get().log_id),
        exported_at=timezone.now().isoformat(),
        filter=dict(described),
        public_keys=keys,
    )
    wanted = _Wanted(events)
    proven = 0
    with snapshot() as connection:
        before: Checkpoint | None = None
        shown = False
        while (seq := wanted.next) is not None:
            begin, end = _around(seq)
            if end is None:
                break
            if not shown or (begin and begin.number) != (before and before.number):
                yield _line(kind="start", checkpoint=begin.document if begin else None)
            for row in _rows(connection, begin.seq if begin else 0, end.seq):
                is_wanted = wanted.take(row[0])
                proven += is_wanted
                yield _row(row, is_wanted)
            yield _line(kind="checkpoint", checkpoint=end.document)
            before, shown = end, True
        unproven = 0
        while (seq := wanted.next) is not None:
            wanted.take(seq)
            unproven += 1
    waiting = events.exclude(id__in=AuditSeal.objects.values("event_id")).count() if unproven == 0 else None
    yield _line(kind="end", events=proven, not_yet_signed=unproven, not_yet_sealed=waiting)


def _row(row: Any, is_wanted: bool) -> str:
    seq, event_id, sealed_at, digest = row[:4]
    place = {"seq": seq, "event_id": event_id, "sealed_at": sealed_at}
    if is_wanted:
        return _line(kind="event", **place, event=dict(zip(EVENT_FIELDS, row[5:], strict=True)))
    return _line(kind="digest", **place, digest=bytes(digest).hex())


def _rows(connection: Any, above: int, upto: int) -> Iterator[Any]:
    while above < upto:
        step = min(above + STRETCH, upto)
        yield from connection.execute(QUERIES["seals"], {"above": above, "upto": step}).fetchall()
        above = step


def _around(seq: int) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The signed checkpoints before and at or after a seal (None: the beginning, or not signed yet)."""
    before = AuditCheckpoint.objects.filter(seq__lt=seq).order_by("-seq", "-number")
    after = AuditCheckpoint.objects.filter(seq__gte=seq).order_by("seq", "number")
    return _first_that_holds(before), _first_that_holds(after)


def _first_that_holds(rows: QuerySet[AuditCheckpoint]) -> Checkpoint | None:
    for row in rows[:50]:  # after a restart some do not
        one = parse(row.document)
        seal = AuditSeal.objects.filter(seq=one.seq).first()
        if seal is not None and bytes(seal.hash) == one.hash:
            return one
    return None


class _Wanted:
    """The seals of the events that were asked for, in order."""

    def __init__(self, events: QuerySet[AuditEvent]) -> None:
        seals = AuditSeal.objects.filter(event_id__in=events.order_by().values("id")).order_by("seq")
        self._seqs = seals.values_list("seq", flat=True).iterator(chunk_size=5_000)
        self.next: int | None = next(self._seqs, None)

    def take(self, seq: int) -> bool:
        """Whether `seq` is the next one; if so, go on."""
        if seq != self.next:
            return False
        self.next = next(self._seqs, None)
        return True
