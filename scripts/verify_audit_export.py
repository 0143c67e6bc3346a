#!/usr/bin/env python3
"""Verify an export of the audit log (JSON Lines with proof). Needs nothing of ours: Python 3.9 and `cryptography`.

    verify_audit_export.py EXPORT.jsonl --public-key KEY

KEY is the signer's Ed25519 public key in base64, as you got it from somebody you trust (`checkpoint_audit_log` prints
it). The keys named in the file are those of whoever made the file, and are not believed without it.

What it says when all is well: each event shown was in the log with exactly these fields, at that place in its order,
when the checkpoint behind it was signed; between the checkpoints shown nothing was taken out. Not: that the filter has
shown all events that fit it, since the others are digests. Exit codes: 0 all well, 1 not, 2 wrong usage.
"""

import argparse
import base64
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = (
    "id at action outcome actor_kind actor_id actor_label channel ip request_id tenant_id tenant_slug "
    "target_type target_id target_label before after reason"
).split()


class Bad(Exception):
    """Why the export is not to be believed."""


def sha256(kind, fields):
    """SHA-256 over fields, each with its length in front."""
    data = b""
    for field in [kind, *fields]:
        if field is None:
            data += b"\xff\xff\xff\xff"
        else:
            content = field.encode()
            data += struct.pack(">I", len(content)) + content
    return hashlib.sha256(data).digest()


def canonical(body):
    """The bytes that are signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def checkpoint(document, keys, log):
    """The signed end of the chain: its seq and hash."""
    body = json.loads(document)
    signature = base64.b64decode(body.pop("signature"))
    name = body.get("key")
    if name not in keys:
        raise Bad(f"checkpoint {body.get('number')} is signed with the key {name}, not with yours")
    try:
        keys[name].verify(signature, canonical(body))
    except InvalidSignature:
        raise Bad(f"the signature of checkpoint {body.get('number')} does not fit") from None
    if body["log"] != log:
        raise Bad(f"checkpoint {body['number']} is of another log")
    return body["seq"], bytes.fromhex(body["hash"]), body


def verify(lines, keys):
    """Returns (events, checkpoints, not yet signed); raises Bad."""
    lines = iter(lines)
    head = json.loads(next(lines))
    if head.get("kind") != "audit export v1":
        raise Bad("this is no export of an audit log")
    log, place, events, signed, open_rows = head["log"], None, 0, 0, False
    for number, text in enumerate(lines, start=2):
        line = json.loads(text)
        kind = line.get("kind")
        if kind == "start":
            if open_rows:
                raise Bad(f"line {number}: the rows before it lead to no checkpoint")
            document = line["checkpoint"]
            place = (0, sha256("audit genesis v1", [log])) if document is None else checkpoint(document, keys, log)[:2]
        elif kind in ("event", "digest") and place is not None:
            seq, previous = place
            if line["seq"] != seq + 1:
                raise Bad(f"line {number}: seal {seq + 1} is missing")
            digest = bytes.fromhex(line["digest"]) if kind == "digest" else event_digest(line, number)
            fields = [previous.hex(), str(line["seq"]), str(line["event_id"]), line["sealed_at"], digest.hex()]
            place, open_rows = (line["seq"], sha256("audit link v1", fields)), True
            events += kind == "event"
        elif kind == "checkpoint" and place is not None:
            seq, digest, body = checkpoint(line["checkpoint"], keys, log)
            if (seq, digest) != place:
                raise Bad(f"line {number}: what stands before checkpoint {body['number']} is not what was signed")
            signed, open_rows = signed + 1, False
        elif kind == "end":
            if open_rows or line["events"] != events:
                raise Bad("rows were taken out or put in at the end")
            return events, signed, line["not_yet_signed"]
        else:
            raise Bad(f"line {number} is of no kind that belongs here")
    raise Bad("the end is missing")


def event_digest(line, number):
    """The digest of an event that is shown."""
    event = line["event"]
    if sorted(event) != sorted(FIELDS) or event["id"] != str(line["event_id"]):
        raise Bad(f"line {number}: the event has other fields")
    return sha256("audit event v1", [event[name] for name in FIELDS])


def main():
    """Read the arguments, verify, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--public-key", action="append", required=True, help="base64; may be given more than once")
    arguments = parser.parse_args()
    keys = {}
    for text in arguments.public_key:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
        keys[hashlib.sha256(raw).hexdigest()[:16]] = Ed25519PublicKey.from_public_bytes(raw)
    try:
        with open(arguments.export, encoding="utf-8") as lines:  # noqa: PTH123
            events, signed, waiting = verify(lines, keys)
    except (Bad, KeyError, TypeError, ValueError, StopIteration) as error:
        print(f"NOT to be believed: {error}", file=sys.stderr)
        return 1
    print(f"well: {events} events, proven by {signed} signed checkpoints; {waiting} more were not signed yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
