"""The keys that checkpoints are signed with. They live outside the database: in the environment, or a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

from tenants.exceptions import InvalidInput


def _bytes(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{what} is not base64.") from error
    if len(raw) != 32:
        raise InvalidInput(f"{what} is not 32 bytes in base64.")
    return raw


def signing_key() -> Ed25519PrivateKey | None:
    """The key of AUDIT_SIGNING_KEY; None when none is set. Raises InvalidInput when it is no key."""
    text = settings.AUDIT_SIGNING_KEY
    return Ed25519PrivateKey.from_private_bytes(_bytes(text, "AUDIT_SIGNING_KEY")) if text else None


def raw_public(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The 32 bytes of the public key."""
    return (key.public_key() if isinstance(key, Ed25519PrivateKey) else key).public_bytes_raw()


def printable(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key as people hand it on."""
    return base64.urlsafe_b64encode(raw_public(key)).decode()


def key_id(raw: bytes) -> str:
    """A short name of a public key."""
    return hashlib.sha256(raw).hexdigest()[:16]


def public_keys(more: Iterable[str] = (), *, only: bool = False) -> dict[str, Ed25519PublicKey]:
    """The keys whose signatures are believed, by their ids: our own, AUDIT_PUBLIC_KEYS, and `more`.

    With `only`, none but `more`. Raises InvalidInput for one that is no key.
    """
    raws = [_bytes(text, "A public key") for text in more]
    if not only:
        own = signing_key()
        raws += [raw_public(own)] if own else []
        raws += [_bytes(text, "AUDIT_PUBLIC_KEYS") for text in settings.AUDIT_PUBLIC_KEYS]
    return {key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in raws}
