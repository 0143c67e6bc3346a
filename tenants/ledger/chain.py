"""Walking the chain: every hash is computed again here, none by the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenants.ledger.documents import Checkpoint
from tenants.ledger.findings import Finding
from tenants.ledger.hashing import event_digest, link
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("verification.sql"))
STRETCH = 10_000
MAX_FINDINGS = 50


@dataclass
class Walk:
    """A walk from one seal to the end. After a break it goes on from what is stored, so that each break is found."""

    seq: int
    hash: bytes
    events: int = 0
    findings: list[Finding] = field(default_factory=list)
    too_many: int = 0

    def find(self, finding: Finding) -> None:
        """Note it, unless there are many already."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.too_many += 1


def walk(
    connection: Any,
    *,
    start: tuple[int, bytes],
    checkpoints: Sequence[Checkpoint],
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Walk:
    """Verify every seal after `start` (its seq and hash) with its event, and compare with the checkpoints on the way.

    `tell` hears how many of how many are done.
    """
    state = Walk(*start)
    due = sorted((one for one in checkpoints if one.seq > start[0]), key=lambda one: (one.seq, one.number))
    expected: dict[int, list[Checkpoint]] = {}
    for one in due:
        expected.setdefault(one.seq, []).append(one)
    last = connection.execute(QUERIES["last_seq"]).fetchone()[0]
    above = start[0]
    while above < last:
        rows = connection.execute(QUERIES["seals"], {"above": above, "upto": above + STRETCH}).fetchall()
        for row in rows:
            _step(state, row, expected)
        above += STRETCH
        tell(min(above, last) - start[0], last - start[0])
    _tail(state, due, last)
    return state


def _step(state: Walk, row: Sequence[Any], expected: dict[int, list[Checkpoint]]) -> None:
    seq, event_id, sealed_at, digest, stored = row[:5]
    fields = row[5:]
    at = fields[1]
    if seq != state.seq + 1:
        gone = f"seal {state.seq + 1}" if seq == state.seq + 2 else f"seals {state.seq + 1} to {seq - 1}"
        state.find(Finding("seal_missing", f"There is no {gone}: rows were taken out.", state.seq + 1))
    elif link(state.hash, seq, event_id, sealed_at, digest) != stored:
        message = f"Seal {seq} does not fit the one before it: seals were changed, put in or reordered."
        state.find(Finding("link_broken", message, seq, event_id, at))
    if fields[0] is None:
        state.find(Finding("event_missing", f"The event {event_id} is gone.", seq, event_id))
    elif event_digest(fields) != digest:
        message = f"The event {event_id} ({fields[2]} by {fields[6]}) is not what was sealed: it was changed."
        state.find(Finding("event_changed", message, seq, event_id, at))
    for one in expected.get(seq, ()):
        if one.hash != stored:
            message = (
                f"Checkpoint {one.number} of {one.at} signed another hash at seal {seq}: the chain up to here was "
                "rewritten."
            )
            state.find(Finding("chain_rewritten", message, seq, event_id, at))
    state.seq, state.hash = seq, stored
    state.events += 1


def _tail(state: Walk, due: Sequence[Checkpoint], last: int) -> None:
    beyond = [one for one in due if one.seq > last]
    if beyond:
        one = max(beyond, key=lambda each: each.seq)
        signed = f"checkpoint {one.number} of {one.at} signed seal {one.seq}"
        message = f"The log ends at seal {last}, but {signed}: the end was cut off."
        state.find(Finding("tail_cut", message, last + 1, at=beyond[0].at))
