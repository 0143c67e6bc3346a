"""Signing the end of the chain, and getting it out of the database's reach."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.ledger.documents import BadDocument, Checkpoint, parse, sign
from tenants.ledger.keys import signing_key
from tenants.ledger.sealer import seal_pending
from tenants.ledger.sinks import Sink, SinkError, sinks
from tenants.models import AuditCheckpoint, AuditSeal, AuditSealer, AuditSink
from tenants.postgres import load_queries

log = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
# Without new events the same end is signed again so often: it says that nothing happened.
QUIET = timedelta(hours=1)
DELIVERY = 200


def checkpoint() -> tuple[Checkpoint | None, dict[str, str]]:
    """What is done each minute: sign if there is something to sign, deliver. Returns, and raises, what they do."""
    try:
        taken = take_checkpoint()
    except Conflict as error:
        log.critical("%s", error)
        raise
    return taken, deliver()


def take_checkpoint() -> Checkpoint | None:
    """Sign the end of the chain, if there is a key and something new. Returns the new checkpoint.

    Raises Conflict when the last checkpoint's seal is gone or another: two histories are never signed.
    """
    key = signing_key()
    if key is None:
        return None
    with transaction.atomic():
        if not _alone():
            return None
        last, end = _last(), AuditSeal.objects.order_by("-seq").first()
        if end is None and last is None:
            return None
        if last is not None:
            _require_continued(last)
            if end is not None and end.seq == last.seq and timezone.now() - _time(last) < QUIET:
                return None
        return _store(_body(end, last), key)


def restart_checkpoints(*, reason: str, actor: Actor, source: Source) -> Checkpoint:
    """Go on signing after the log was set back on purpose, as by restoring the registry from a backup.

    The new checkpoint says so, with the reason, for good; those that no longer hold are named in it. Raises
    InvalidInput without a reason or a key, Conflict when nothing was set back.
    """
    key = signing_key()
    if key is None or not reason.strip():
        raise InvalidInput("A restart needs AUDIT_SIGNING_KEY and a reason.", field="reason")
    known = _known_anywhere()
    kept = max((one.number for one in known.values() if _holds(one)), default=0)
    newest = max(known, default=0)
    if kept == newest:
        raise Conflict("Every checkpoint holds: there is nothing to restart.")
    audit.record(
        "audit.restart", actor=actor, source=source, reason=reason, before={"checkpoint": newest}, after={"kept": kept}
    )
    seal_pending()
    with transaction.atomic():
        if not _alone():
            raise Conflict("Somebody else is taking a checkpoint.", hint="Try again.")
        body = _body(AuditSeal.objects.order_by("-seq").first(), known[newest])
        return _store({**body, "restart": reason.strip()[:300], "kept": kept}, key)


def deliver() -> dict[str, str]:
    """Bring every place outside up to date. Returns what went wrong, by place; it is tried again next time."""
    wrong = {}
    for sink in sinks():
        try:
            error = _deliver(sink)
        except SinkError as problem:
            error = str(problem)[:500]
            AuditSink.objects.filter(url=sink.name[:500]).update(last_error=error)
        if error:
            wrong[sink.name] = error
            log.error("audit checkpoints are not delivered: %s", error)
    return wrong


def _deliver(sink: Sink) -> str:
    AuditSink.objects.get_or_create(url=sink.name[:500])
    while True:
        with transaction.atomic():
            row = AuditSink.objects.select_for_update(skip_locked=True).filter(url=sink.name[:500]).first()
            if row is None:  # another process is at it
                return ""
            waiting = AuditCheckpoint.objects.filter(number__gt=row.delivered).order_by("number")[:DELIVERY]
            batch = [parse(one.document) for one in waiting]
            if batch:
                sink.append(batch)
                row.delivered, row.delivered_at = batch[-1].number, timezone.now()
            if batch or row.last_error:
                row.last_error = ""
                row.save(update_fields=["delivered", "delivered_at", "last_error"])
        if len(batch) < DELIVERY:
            return ""


def read_back(
    all_sinks: Sequence[Sink], *, after: int, tail: int | None = None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The documents each place has above `after` (above `tail` where reading costs), and why others cannot be read."""
    found, wrong = {}, {}
    for sink in all_sinks:
        try:
            documents = sink.read(after if sink.cheap or tail is None else max(after, tail))
        except SinkError as error:
            wrong[sink.name] = str(error)
            continue
        if documents is not None:
            found[sink.name] = documents
    return found, wrong


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["try_checkpoint"])
        return bool(cursor.fetchone()[0])


def _last() -> Checkpoint | None:
    row = AuditCheckpoint.objects.order_by("-number").first()
    return parse(row.document) if row else None


def _time(checkpoint: Checkpoint) -> Any:
    return AuditCheckpoint.objects.values_list("at", flat=True).get(number=checkpoint.number)


def _holds(checkpoint: Checkpoint) -> bool:
    seal = AuditSeal.objects.filter(seq=checkpoint.seq).first()
    return seal is not None and bytes(seal.hash) == checkpoint.hash


def _require_continued(last: Checkpoint) -> None:
    if not _holds(last):
        raise Conflict(
            f"The log no longer has what checkpoint {last.number} signed (seq {last.seq}); nothing more is signed.",
            code="audit_log_broken",
            hint="Run manage.py verify_audit_log.",
        )


def _body(end: AuditSeal | None, last: Checkpoint | None) -> dict[str, Any]:
    if end is None:
        raise Conflict("The log has no seals, but checkpoints.", code="audit_log_broken")
    return {
        "log": str(AuditSealer.objects.get().log_id),
        "number": last.number + 1 if last else 1,
        "at": timezone.now().isoformat(),
        "seq": end.seq,
        "hash": bytes(end.hash).hex(),
        "previous": last.digest if last else "",
    }


def _store(body: dict[str, Any], key: Any) -> Checkpoint:
    document = sign(body, key)
    AuditCheckpoint.objects.create(number=body["number"], seq=body["seq"], at=body["at"], document=document)
    return parse(document)


def _known_anywhere() -> dict[int, Checkpoint]:
    """Every checkpoint, here and outside, by number; what is said outside counts."""
    documents = list(AuditCheckpoint.objects.values_list("document", flat=True))
    outside, _ = read_back(sinks(), after=0)
    for found in outside.values():
        documents += found
    known = {}
    for document in documents:
        try:
            checkpoint = parse(document)
        except BadDocument as error:
            raise Conflict(f"A checkpoint {error}.", hint="Run manage.py verify_audit_log.") from error
        known[checkpoint.number] = checkpoint
    return known
