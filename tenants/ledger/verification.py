"""Verifying the log from outside the database, as `verify_audit_log` and beat do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection as registry
from django.db import transaction
from django.utils import timezone

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import InvalidInput, NotFound
from tenants.ledger.chain import QUERIES, walk
from tenants.ledger.checkpoints import read_back
from tenants.ledger.documents import Checkpoint
from tenants.ledger.findings import Finding
from tenants.ledger.guards import check_guards
from tenants.ledger.hashing import genesis
from tenants.ledger.keys import public_keys
from tenants.ledger.signed import OURS, Signed, gather
from tenants.ledger.sinks import sinks
from tenants.models import AuditCheckpoint, AuditEvent, AuditVerification

log = logging.getLogger(__name__)
# Of a place that gives them back one by one, so many are compared with our own, of which the newest vouches for all.
TAIL = 900
FIRST = -(2**63)  # an id below all


@dataclass
class Result:
    """What a verification found; `findings` is empty when the log is what was written."""

    started_at: datetime
    from_seq: int
    to_seq: int = 0
    events: int = 0
    checkpoints: int = 0
    findings: list[Finding] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    @property
    def first_bad(self) -> Finding | None:
        """The earliest place in the log that is wrong, else the first thing that is."""
        return min(self.findings, key=lambda one: one.seq if one.seq is not None else 2**63, default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first_bad
        return {
            "ok": self.ok,
            "from_seq": self.from_seq,
            "to_seq": self.to_seq,
            "events": self.events,
            "checkpoints": self.checkpoints,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds) if self.seconds else None,
            "first_bad": first.as_dict() if first else None,
            "findings": [one.as_dict() for one in self.findings],
            "notices": self.notices,
        }


@contextmanager
def snapshot() -> Iterator[Any]:
    """A connection of our own to the registry, on which everything is seen as of one moment and nothing is written."""
    wrapper: Any = registry.copy()
    wrapper.ensure_connection()
    raw = wrapper.connection
    try:
        raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield raw
    finally:
        raw.close()


def verify(
    *,
    from_checkpoint: int | None = None,
    checkpoint_files: Sequence[Path] = (),
    trusted_keys: Sequence[str] = (),
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Result:
    """Compare the log with itself and with what was signed; from the checkpoint of that number, or from the start.

    `checkpoint_files` are further places to read checkpoints from. With `trusted_keys` only these public keys are
    believed. Raises NotFound for a checkpoint that there is not, InvalidInput for an unreadable file or key.
    """
    started = timezone.now()
    keys = public_keys(trusted_keys, only=bool(trusted_keys))
    # Read before the log: what is signed by now has to be in it.
    since = from_checkpoint or 0
    newest = AuditCheckpoint.objects.values_list("number", flat=True).order_by("-number").first() or 0
    places, unreadable = read_back(sinks(), after=max(since - 1, 0), tail=newest - TAIL)
    places |= {str(path): _lines(path) for path in checkpoint_files}
    with snapshot() as connection:
        found, notices = check_guards(connection)
        if any(one.code == "table_missing" for one in found):
            return _finish(Result(started, 0, findings=found, notices=notices))
        log_id, scan_from = connection.execute(QUERIES["log"]).fetchone()
        ours = connection.execute(QUERIES["checkpoints"], {"since": since}).fetchall()
        signed = gather({OURS: [document for _, document in ours], **places}, keys, str(log_id))
        start, first = _start(connection, signed, from_checkpoint, genesis(log_id))
        result = Result(started, start[0], findings=[*found, *signed.findings], notices=[*notices, *signed.notices])
        result.notices += [f"Not read: {why}." for why in unreadable.values()]
        if first is not None:
            result.findings.append(first)
        walked = walk(connection, start=start, checkpoints=signed.holding(), tell=tell)
        result.findings += [*walked.findings, *_strays(connection, start[0], scan_from, result.notices)]
        result.to_seq, result.events, result.checkpoints = walked.seq, walked.events, len(signed.holding())
        if walked.too_many:
            result.notices.append(f"{walked.too_many} more findings are not listed.")
    if not signed.holding():
        result.notices.append("There is no checkpoint: that the whole log was rewritten could not be seen.")
    elif not places:
        result.notices.append("No checkpoint outside the database was read: a log cut at its end could not be seen.")
    return _finish(result)


def _finish(result: Result) -> Result:
    result.seconds = (timezone.now() - result.started_at).total_seconds()
    return result


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"{path} cannot be read.", field="checkpoints") from error


def _start(
    connection: Any, signed: Signed, number: int | None, origin: bytes
) -> tuple[tuple[int, bytes], Finding | None]:
    """Where to begin, and what is wrong with it."""
    if number is None:
        return (0, origin), None
    one: Checkpoint | None = signed.believed.get(number)
    if one is None:
        raise NotFound(f"There is no checkpoint {number} that can be believed.")
    row = connection.execute(QUERIES["seal"], {"seq": one.seq}).fetchone()
    if row is None:
        return (one.seq, one.hash), Finding(
            "tail_cut", f"Seal {one.seq}, which checkpoint {number} signed, is gone.", one.seq
        )
    if bytes(row[0]) != one.hash:
        message = f"Checkpoint {number} of {one.at} signed another hash at seal {one.seq}: the chain was rewritten."
        return (one.seq, one.hash), Finding("chain_rewritten", message, one.seq, row[1])
    return (one.seq, one.hash), None


def _strays(connection: Any, start: int, scan_from: int, notices: list[str]) -> list[Finding]:
    """Events outside the chain."""
    row = connection.execute(QUERIES["seal"], {"seq": start}).fetchone()
    rows = connection.execute(
        QUERIES["never_sealed"], {"since": row[1] if row else FIRST, "scan_from": scan_from}
    ).fetchall()
    count, oldest = connection.execute(QUERIES["waiting_long"], {"scan_from": scan_from}).fetchone()
    if count:
        notices.append(f"{count} events wait for their seals since {oldest:%Y-%m-%d %H:%M:%S}: is the sealer running?")
    return [
        Finding("event_outside", f"The event {number} is in no chain: it was put in afterwards, or its seal taken.",
                event=number, at=at.isoformat())
        for number, at in rows
    ]  # fmt: skip


def newest_verified_checkpoint() -> int | None:
    """Where the next verification may begin: the last checkpoint that a good one has reached."""
    last = AuditVerification.objects.order_by("-id").first()
    if last is None or not last.ok:
        return None
    return (
        AuditCheckpoint.objects.filter(seq__lte=last.to_seq)
        .values_list("number", flat=True)
        .order_by("-number")
        .first()
    )


def verify_and_note(
    *, actor: Actor, source: Source, full: bool = True, **options: Any
) -> tuple[Result, AuditVerification]:
    """Verify, keep the result, and write into the log itself when it is bad for the first time (or was asked for).

    Without `full` it begins at the last checkpoint that a good verification has reached.
    """
    if not full and options.get("from_checkpoint") is None:
        options["from_checkpoint"] = newest_verified_checkpoint()
    result = verify(**options)
    first = result.first_bad
    before = AuditVerification.objects.order_by("-id").first()
    with transaction.atomic():
        row = AuditVerification.objects.create(
            started_at=result.started_at,
            finished_at=timezone.now(),
            ok=result.ok,
            full=result.from_seq == 0,
            from_seq=result.from_seq,
            to_seq=result.to_seq,
            events=result.events,
            checkpoints=result.checkpoints,
            findings=[one.as_dict() for one in result.findings],
            notices=result.notices,
            actor_label=actor.label,
        )
        if actor.kind != "system" or (first and (before is None or before.ok)):
            audit.record(
                "audit.verify",
                actor=actor,
                source=source,
                target=row,
                outcome=AuditEvent.Outcome.SUCCESS if result.ok else AuditEvent.Outcome.FAILURE,
                after={"events": result.events, "first_bad": first.as_dict() if first else None},
            )
    if first and actor.kind == "system":  # people are told by whoever asked
        log.critical("the audit log does not hold: %s", first.message)
    return result, row
