"""The checkpoints of all places put together: which are to be believed, and what contradicts what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tenants.ledger.documents import BadDocument, Checkpoint, check_signature, parse
from tenants.ledger.findings import Finding

OURS = "the database"


@dataclass
class Signed:
    """`believed` by number, `void` those a signed restart has set aside."""

    believed: dict[int, Checkpoint] = field(default_factory=dict)
    void: set[int] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def holding(self) -> list[Checkpoint]:
        """What the chain has to agree with, in order."""
        return [self.believed[number] for number in sorted(self.believed) if number not in self.void]


def gather(places: Mapping[str, list[str]], keys: Mapping[str, Ed25519PublicKey], log_id: str) -> Signed:
    """Read, check and compare the documents of all `places`."""
    signed = Signed()
    for place, documents in places.items():
        for line, document in enumerate(documents, start=1):
            _take(signed, f"line {line} of {place}", document, keys, log_id)
    _restarts(signed)
    for place, documents in places.items():
        if place != OURS:
            _unbroken(signed, place, documents)
    _linked(signed)
    return signed


def _take(signed: Signed, where: str, document: str, keys: Mapping[str, Ed25519PublicKey], log_id: str) -> None:
    try:
        one = parse(document)
        known = signed.believed.get(one.number)
        if known is not None and known.document == document:
            return
        check_signature(one, keys)
    except BadDocument as error:
        signed.findings.append(Finding("checkpoint_altered", f"The checkpoint in {where} {error}."))
        return
    if one.log != log_id:
        signed.findings.append(Finding("checkpoint_foreign", f"The checkpoint in {where} is of another log."))
    elif known is None:
        signed.believed[one.number] = one
    else:
        message = f"There are two signed checkpoints {one.number}, and the one in {where} differs: two histories."
        signed.findings.append(Finding("two_histories", message, seq=min(one.seq, known.seq)))


def _restarts(signed: Signed) -> None:
    for one in signed.believed.values():
        if one.restart:
            gone = {number for number in signed.believed if one.kept < number < one.number}
            signed.void |= gone
            signed.notices.append(
                f"At {one.at} the log was set back on purpose to checkpoint {one.kept} ({len(gone)} later ones are "
                f"void): {one.restart}"
            )


def _numbers(documents: list[str]) -> list[int]:
    found = []
    for document in documents:
        try:
            found.append(parse(document).number)
        except BadDocument:
            continue
    return found


def _unbroken(signed: Signed, place: str, documents: list[str]) -> None:
    """A line taken from the middle of a place leaves a gap in its numbers; a changed order shows too."""
    numbers = _numbers(documents)
    for before, after in zip(numbers, numbers[1:], strict=False):
        if after <= before:
            message = f"In {place} checkpoint {after} stands behind {before}."
            signed.findings.append(Finding("checkpoint_order", message))
        elif after != before + 1:
            message = f"In {place} the checkpoints {before + 1} to {after - 1} are missing."
            signed.findings.append(Finding("checkpoint_missing", message))


def _linked(signed: Signed) -> None:
    """Each names the one before it."""
    ordered = sorted(signed.believed)
    for before, after in zip(ordered, ordered[1:], strict=False):
        one, other = signed.believed[before], signed.believed[after]
        if after == before + 1 and other.previous != one.digest:
            message = f"Checkpoint {after} does not continue checkpoint {before}."
            signed.findings.append(Finding("checkpoint_unlinked", message, seq=other.seq))
