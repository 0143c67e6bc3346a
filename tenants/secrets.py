"""Encryption of what must be stored but never read: MultiFernet, with keys that live outside the database."""

from __future__ import annotations

import functools
import secrets as random

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from tenants.exceptions import SecretUnreadable

PASSWORD_BYTES = 24


@functools.lru_cache(maxsize=4)
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


def new_password() -> str:
    """A password of 192 random bits that needs no quoting in a URL."""
    return random.token_urlsafe(PASSWORD_BYTES)
