"""Encryption of what must be stored but never read: MultiFernet, with keys that live outside the database."""

from __future__ import annotations

import functools
import hashlib
import secrets as random

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from tenants.exceptions import SecretUnreadable

PASSWORD_BYTES = 24


@functools.lru_cache(maxsize=16)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """`text` encrypted with the first configured key, as printable text."""
    return _fernet(tuple(settings.FIELD_ENCRYPTION_KEYS)).encrypt(text.encode()).decode("ascii")


def decrypt(token: str) -> str:
    """What `encrypt` was given. Raises SecretUnreadable when no configured key fits or the text was altered."""
    try:
        return _fernet(tuple(settings.FIELD_ENCRYPTION_KEYS)).decrypt(token.encode("ascii")).decode()
    except (InvalidToken, UnicodeError) as error:
        raise SecretUnreadable(hint="Add the key it was written with to FIELD_ENCRYPTION_KEYS.") from error


def key_number(token: str) -> int:
    """Which of the configured keys `token` was written with, counted from 0: the first is the newest.

    Raises SecretUnreadable when none fits or the text was altered.
    """
    for number, key in enumerate(settings.FIELD_ENCRYPTION_KEYS):
        try:
            _fernet((key,)).decrypt(token.encode("ascii"))
        except (InvalidToken, UnicodeError):
            continue
        return number
    raise SecretUnreadable(hint="Add the key it was written with to FIELD_ENCRYPTION_KEYS.")


def key_name(key: str) -> str:
    """What a key may be called where people read it: eight digits of its hash."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def new_password() -> str:
    """A password of 192 random bits that needs no quoting in a URL."""
    return random.token_urlsafe(PASSWORD_BYTES)
