"""Names: made, checked and quoted here and nowhere else.

A schema name is `t_` and 100 random bits in lower-case base32: it says nothing of its tenant and cannot be
guessed. Every role of a tenant is that name and a suffix, at most 63 bytes (PostgreSQL's limit) together.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

from tenants.exceptions import InvalidInput

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
SCHEMA_BITS = 100
SCHEMA_NAME = re.compile(r"t_[a-z2-7]{20}\Z")
PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,56}\Z")
SLUG = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,38}[a-z0-9]\Z")
MAX_NAME_LENGTH = 120
MAX_LABELS = 32
LABEL_KEY = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?\Z")
MAX_LABEL_VALUE = 120

# Slugs end up in host names, paths and log lines: what means something there is not a tenant's to take.
RESERVED_SLUGS = frozenset(
    "admin administrator api app auth audit backup backups billing cluster clusters control controlplane dashboard "
    "default docs health healthz help internal login logout metrics monitoring none null operations pg-catalog "
    "postgres public readyz root static status support system template template0 template1 templates tenant "
    "tenants test undefined www".split()
)

OWNER, READ_WRITE, READ_ONLY = "owner", "rw", "ro"
LOGIN_SUFFIXES = ("rw_a", "rw_b")
MIGRATOR = "mig"  # there only while a window is open
ADDITIONAL = re.compile(r"r[ow]_[a-z2-7]{6}\Z")  # suffixes of logins that are there for a while


def new_schema_name() -> str:
    """A fresh schema name with 100 random bits from the operating system."""
    return "t_" + "".join(secrets.choice(BASE32) for _ in range(SCHEMA_BITS // 5))


def check_schema_name(name: str) -> str:
    """Return `name` if it is one of ours. Raises InvalidInput otherwise (also for a trailing newline)."""
    if not SCHEMA_NAME.match(name):
        raise InvalidInput("This is not the name of a tenant schema.", field="schema_name")
    return name


def check_plain_name(name: str) -> str:
    """Return `name` if it needs no quotes and leaves room for the roles named after it. Raises ValueError otherwise."""
    if not PLAIN_NAME.match(name):
        raise ValueError(f"not a schema name a clone can have: {name!r}")
    return name


def role_name(schema: str, suffix: str) -> str:
    """The name of one of a schema's roles, e.g. `t_…_owner`."""
    return f"{check_schema_name(schema)}_{suffix}"


def new_login_name(schema: str, privileges: str) -> str:
    """A name for an additional login with the privileges of the group `ro` or `rw`: `t_…_ro_` and 30 random bits."""
    return role_name(schema, f"{privileges}_" + "".join(secrets.choice(BASE32) for _ in range(6)))


def check_slug(value: str) -> str:
    """Return `value` if it can be a slug.

    3–40 characters of a–z, 0–9 and single inner hyphens, beginning with a letter. Raises InvalidInput.
    """
    if not isinstance(value, str) or not SLUG.match(value):
        raise InvalidInput(
            "A slug has 3 to 40 characters: a-z, 0-9 and single hyphens between them, beginning with a letter.",
            field="slug",
        )
    if value in RESERVED_SLUGS:
        raise InvalidInput(f"The slug '{value}' is reserved.", field="slug", hint="Choose another one.")
    return value


def check_name(value: str, *, field: str = "name") -> str:
    """Return `value`, NFC-normalised and stripped, if people can read it.

    1–120 characters; no control, format (bidi and zero-width), private-use or unassigned characters, since these
    are used to make one name look like another. Raises InvalidInput.
    """
    if not isinstance(value, str):
        raise InvalidInput("A name is text.", field=field)
    name = unicodedata.normalize("NFC", value).strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise InvalidInput(f"A name has 1 to {MAX_NAME_LENGTH} characters.", field=field)
    bad = next((c for c in name if unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}), None)
    if bad is not None:
        raise InvalidInput(f"A name cannot contain the invisible character U+{ord(bad):04X}.", field=field)
    return name


def check_labels(value: object) -> dict[str, str]:
    """Return `value` if it is a small flat mapping of label keys to short texts. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput("Labels are an object of text values.", field="labels")
    if len(value) > MAX_LABELS:
        raise InvalidInput(f"At most {MAX_LABELS} labels.", field="labels")
    for key, text in value.items():
        if not isinstance(key, str) or not LABEL_KEY.match(key):
            raise InvalidInput("A label key has 1 to 63 characters of a-z, 0-9, '.', '_', '/' and '-'.", field="labels")
        if not isinstance(text, str) or len(text) > MAX_LABEL_VALUE:
            raise InvalidInput(
                f"The label '{key}' needs a text of at most {MAX_LABEL_VALUE} characters.", field="labels"
            )
        if any(unicodedata.category(c) in {"Cc", "Cs", "Cf"} for c in text):
            raise InvalidInput(f"The label '{key}' contains an invisible character.", field="labels")
    return value
