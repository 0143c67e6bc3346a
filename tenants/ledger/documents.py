"""Checkpoints as documents: one line of JSON, signed, each naming the one before it by its hash."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tenants.ledger.keys import key_id, raw_public

KIND = "audit checkpoint v1"
MAX_LENGTH = 4_000
_FIELDS = {"kind": str, "log": str, "number": int, "at": str, "seq": int, "hash": str, "previous": str, "key": str,
           "signature": str}  # fmt: skip


class BadDocument(Exception):
    """Why a text is not a checkpoint that can be believed."""


def canonical(body: Mapping[str, Any]) -> str:
    """The one way to write it down."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class Checkpoint:
    """The end of the chain at one moment, as it was signed."""

    number: int
    log: str
    at: str
    seq: int
    hash: bytes
    previous: str
    key: str
    document: str
    restart: str = ""
    kept: int = 0

    @property
    def digest(self) -> str:
        """What the next one names as its previous."""
        return hashlib.sha256(self.document.encode()).hexdigest()


def sign(body: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """The signed document for `body`."""
    full = {**body, "kind": KIND, "key": key_id(raw_public(key))}
    signature = key.sign(canonical(full).encode())
    return canonical({**full, "signature": base64.b64encode(signature).decode()})


def parse(document: str) -> Checkpoint:
    """The checkpoint in a document, its signature not yet looked at. Raises BadDocument."""
    try:
        if len(document) > MAX_LENGTH:
            raise BadDocument("is too long")
        body = json.loads(document)
        if not isinstance(body, dict) or any(type(body.get(name)) is not kind for name, kind in _FIELDS.items()):
            raise BadDocument("lacks fields or has others")
        if body["kind"] != KIND or canonical(body) != document or len(bytes.fromhex(body["hash"])) != 32:
            raise BadDocument("is not in its canonical form")
    except (ValueError, RecursionError) as error:
        raise BadDocument("is no JSON document") from error
    return Checkpoint(
        **{name: body[name] for name in ("number", "log", "at", "seq", "previous", "key")},
        hash=bytes.fromhex(body["hash"]),
        document=document,
        restart=str(body.get("restart", "")),
        kept=int(body.get("kept", 0)),
    )


def check_signature(checkpoint: Checkpoint, keys: Mapping[str, Ed25519PublicKey]) -> None:
    """Raises BadDocument when it is signed by none of `keys`, or was altered."""
    body = json.loads(checkpoint.document)
    key = keys.get(checkpoint.key)
    if key is None:
        raise BadDocument(f"is signed with the key {checkpoint.key}, which is not among those believed")
    try:
        signature = base64.b64decode(body.pop("signature"), validate=True)
        key.verify(signature, canonical(body).encode())
    except (InvalidSignature, binascii.Error) as error:
        raise BadDocument("has a signature that does not fit: it was altered") from error
