"""What must be true of the settings for the control plane to work at all, each with an id and one clear line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host

from backups.engine.keys import KeyRing
from controlplane.environment import secret
from tenants.exceptions import InvalidInput
from tenants.ledger.keys import public_keys
from tenants.ledger.sinks import sinks

POSTGRES_SCHEMES = ("postgres", "postgresql", "psql", "pgsql")
REDIS_SCHEMES = ("redis", "rediss", "unix")
SECRET_KEY_CHARACTERS = 32
PLACEHOLDERS = ("django-insecure-", "changeme", "change-me", "change me", "placeholder", "your-secret", "todo")
NEW_FERNET_KEY = "Make one: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except (ValueError, TypeError):
        return False
    return True


def _encryption_keys() -> Iterator[CheckMessage]:
    keys = settings.FIELD_ENCRYPTION_KEYS
    if not keys:
        yield Error("FIELD_ENCRYPTION_KEYS holds no key.", hint=NEW_FERNET_KEY, id="controlplane.E001")
    for number, key in enumerate(keys, start=1):
        if not _is_fernet_key(key):
            message = f"FIELD_ENCRYPTION_KEYS: key {number} of {len(keys)} is no Fernet key (32 bytes in base64)."
            yield Error(message, hint=NEW_FERNET_KEY, id="controlplane.E001")


def _secret_keys() -> Iterator[CheckMessage]:
    for name, keys in (("SECRET_KEY", [settings.SECRET_KEY]), ("SECRET_KEY_FALLBACKS", settings.SECRET_KEY_FALLBACKS)):
        for key in keys:
            if len(key) < SECRET_KEY_CHARACTERS or len(set(key)) < 8:
                message = f"{name} is too short or too simple: at least {SECRET_KEY_CHARACTERS} random characters."
                yield Error(message, id="controlplane.E002")
            elif key.lower().startswith(PLACEHOLDERS):
                yield Error(f"{name} is a placeholder: set a random one.", id="controlplane.E002")


def _database_url() -> Iterator[CheckMessage]:
    # The settings no longer know the scheme: the engine is always our own.
    url = urlsplit(secret("DATABASE_URL"))
    shape = "postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    if url.scheme not in POSTGRES_SCHEMES:
        yield Error("DATABASE_URL does not name a PostgreSQL database.", hint=shape, id="controlplane.E003")
        return
    for what, value in (("user", url.username), ("host", url.hostname), ("database", url.path.strip("/"))):
        if not value:
            yield Error(f"DATABASE_URL names no {what}.", hint=shape, id="controlplane.E003")


def _redis_url() -> Iterator[CheckMessage]:
    url = urlsplit(settings.REDIS_URL)
    if url.scheme not in REDIS_SCHEMES or not (url.hostname or url.path):
        hint = "redis://:PASSWORD@HOST:PORT/NUMBER"
        yield Error("REDIS_URL does not name a Redis server.", hint=hint, id="controlplane.E004")


def _public_url() -> Iterator[CheckMessage]:
    url = urlsplit(settings.PUBLIC_URL)
    if url.scheme not in ("http", "https") or not url.hostname or url.path or url.query:
        message = "PUBLIC_URL is not like https://HOST (no path, no slash at the end)."
        yield Error(message, id="controlplane.E005")
    elif not (settings.DEBUG or validate_host(url.hostname, settings.ALLOWED_HOSTS)):
        message = f"PUBLIC_URL's host {url.hostname} is not among ALLOWED_HOSTS: its requests would be refused."
        yield Warning(message, id="controlplane.W001")


def _audit_log() -> Iterator[CheckMessage]:
    try:
        public_keys()
        sinks()
    except InvalidInput as error:
        yield Error(error.message, id="controlplane.E006")


def _backup_keys() -> Iterator[CheckMessage]:
    try:
        KeyRing.parse(settings.BACKUP_ENCRYPTION_KEYS)
    except InvalidInput as error:
        yield Error(error.message, hint="id:BASE64 of 32 random bytes, newest first.", id="controlplane.E007")


@register(Tags.security)
def check_settings(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Keys, addresses of the servers and of ourselves. Values are never shown."""
    found: list[CheckMessage] = []
    for part in (_encryption_keys, _secret_keys, _database_url, _redis_url, _public_url, _audit_log, _backup_keys):
        try:
            found += part()
        except (ImproperlyConfigured, ValueError) as error:
            found.append(Error(f"{part.__name__.strip('_').upper()}: {error}", id="controlplane.E000"))
    return found


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """What is fine on one's own machine and wrong behind a public name."""
    if settings.SECURE_SSL_REDIRECT and settings.SECURE_PROXY_SSL_HEADER is None:
        message = "BEHIND_PROXY is off, but only a proxy can speak HTTPS for us: each request would be redirected."
        hint = "Set BEHIND_PROXY=true when the proxy sets X-Forwarded-Proto itself, whatever the client sent."
        return [Warning(message, hint=hint, id="controlplane.W002")]
    return []


@register(Tags.security, deploy=True)
def check_signing(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Whether a forger who has the database could rewrite the audit log."""
    if settings.AUDIT_SIGNING_KEY and settings.AUDIT_CHECKPOINT_URLS:
        return []
    message = "The audit log is not signed, or nobody outside gets what is signed: all of it could be rewritten."
    hint = "Set AUDIT_SIGNING_KEY and AUDIT_CHECKPOINT_URLS, see docs/audit.md."
    return [Warning(message, hint=hint, id="controlplane.W003")]
