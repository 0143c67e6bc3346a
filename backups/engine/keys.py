"""The keys of backups: a random one for each backup, wrapped by one of a ring that lives outside the database.

Rotation puts a new key in front of the ring. Backups made before keep working as long as their key is in it, and
`rewrap` moves one to the newest key by changing the header of its manifest alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backups.engine.errors import KeyMissing
from tenants.exceptions import InvalidInput

KEY_BYTES = 32
NONCE_BYTES = 12
_ENTRY = re.compile(r"(?:([A-Za-z0-9._-]{1,32}):)?([A-Za-z0-9+/_=-]+)\Z")
HINT = "Add the key it was written with to BACKUP_ENCRYPTION_KEYS."


@dataclass(frozen=True)
class WrappedKey:
    """A backup's data key, encrypted with the ring's key called `id`."""

    id: str
    nonce: bytes
    wrapped: bytes

    def as_json(self) -> dict[str, str]:
        """For the manifest's header."""
        return {"id": self.id, "nonce": _text(self.nonce), "wrapped": _text(self.wrapped)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WrappedKey:
        """What `as_json` made. Raises ValueError for anything else."""
        if not isinstance(data, Mapping) or set(data) != {"id", "nonce", "wrapped"}:
            raise ValueError("its key has not the three fields of one")
        if not all(isinstance(value, str) for value in data.values()):
            raise ValueError("the fields of its key are not text")
        try:
            return cls(data["id"], *(base64.b64decode(data[name], validate=True) for name in ("nonce", "wrapped")))
        except binascii.Error as error:
            raise ValueError("its key is no base64") from error


@dataclass(frozen=True)
class DataKey:
    """The key of one backup: encrypts its frames and signs its manifest, each with a key of its own."""

    secret: bytes = field(repr=False)
    backup: str

    @classmethod
    def new(cls, backup: str) -> DataKey:
        """A random one."""
        return cls(secrets.token_bytes(KEY_BYTES), backup)

    def frames(self) -> AESGCM:
        """What frames are encrypted with."""
        return AESGCM(self._derived(b"frames"))

    def sign(self, message: bytes) -> str:
        """HMAC-SHA256 of the manifest's body, in hexadecimal."""
        return hmac.new(self._derived(b"manifest"), message, hashlib.sha256).hexdigest()

    def _derived(self, purpose: bytes) -> bytes:
        """HKDF-SHA256 with the backup's id as salt, one block."""
        pseudorandom = hmac.new(self.backup.encode(), self.secret, hashlib.sha256).digest()
        return hmac.new(pseudorandom, b"cpb " + purpose + b"\x01", hashlib.sha256).digest()


@dataclass(frozen=True)
class KeyRing:
    """Keys by name, newest first. The newest wraps; all unwrap."""

    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> KeyRing:
        """A ring of entries `id:base64`, newest first; without an id a key is called by its hash's first digits.

        Raises InvalidInput, which never shows a key.
        """
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(entries, 1):
            match = _ENTRY.match(entry.strip())
            secret = _secret(match.group(2)) if match else None
            if match is None or secret is None:
                raise InvalidInput(
                    f"BACKUP_ENCRYPTION_KEYS: key {number} is not 'id:' and 32 bytes in base64.",
                    field="BACKUP_ENCRYPTION_KEYS",
                )
            name = match.group(1) or hashlib.sha256(secret).hexdigest()[:8]
            if name in keys:
                raise InvalidInput(f"BACKUP_ENCRYPTION_KEYS: two keys are called {name}.", field="keys")
            keys[name] = secret
        return cls(keys)

    def newest(self) -> str:
        """The name of the key that wraps. Raises KeyMissing when there is none."""
        for name in self.keys:
            return name
        raise KeyMissing(
            "No key for backups is configured.", hint="Set BACKUP_ENCRYPTION_KEYS (id:base64 of 32 bytes)."
        )

    def wrap(self, key: DataKey) -> WrappedKey:
        """A backup's key, encrypted with the newest key of the ring."""
        name, nonce = self.newest(), secrets.token_bytes(NONCE_BYTES)
        return WrappedKey(name, nonce, AESGCM(self.keys[name]).encrypt(nonce, key.secret, _bound(name, key.backup)))

    def unwrap(self, wrapped: WrappedKey, backup: str) -> DataKey:
        """A backup's key. Raises KeyMissing when the ring lacks the key, ValueError when it does not open it."""
        if wrapped.id not in self.keys:
            raise KeyMissing(
                f"The backup was encrypted with the key {wrapped.id!r}, which is not configured.", hint=HINT
            )
        if len(wrapped.nonce) != NONCE_BYTES:
            raise ValueError("its key has a nonce of the wrong size")
        try:
            secret = AESGCM(self.keys[wrapped.id]).decrypt(wrapped.nonce, wrapped.wrapped, _bound(wrapped.id, backup))
        except InvalidTag as error:
            raise ValueError(f"the key called {wrapped.id!r} does not open it (wrong key, or altered)") from error
        return DataKey(secret, backup)


def _bound(name: str, backup: str) -> bytes:
    """What a wrapped key is bound to, so that it opens no other backup."""
    return f"cpb key {name} {backup}".encode()


def _secret(text: str) -> bytes | None:
    try:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        secret = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None
    return secret if len(secret) == KEY_BYTES else None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
