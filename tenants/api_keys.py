"""API keys: made, found and revoked. A key looks like `cp_<prefix>_<secret>` and is shown once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tenants import audit, rows
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.identifiers import check_name
from tenants.models import ApiKey, Tenant
from tenants.models.access import TENANT_SCOPES, Scope

KEY = re.compile(r"cp_([0-9a-f]{10})_([A-Za-z0-9_-]{43})\Z")
LAST_USED_GRAIN = timedelta(seconds=60)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def create_api_key(
    *,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    tenant: Tenant | None = None,
    actor: Actor,
    source: Source,
) -> tuple[ApiKey, str]:
    """A new key and its clear text, which cannot be had again. Raises InvalidInput.

    With `tenant` the key sees that tenant, its operations and its audit events, and nothing else.
    """
    wanted = sorted(set(scopes))
    if not wanted:
        raise InvalidInput("A key needs at least one scope.", field="scopes")
    if unknown := [scope for scope in wanted if scope not in Scope.values]:
        raise InvalidInput(
            f"There is no scope '{unknown[0]}'.", field="scopes", hint=f"Known: {', '.join(Scope.values)}."
        )
    if tenant is not None and (fleet := sorted(set(wanted) - TENANT_SCOPES)):
        raise InvalidInput(
            f"A key of one tenant cannot have the scope '{fleet[0]}'.",
            field="scopes", hint=f"Possible: {', '.join(sorted(TENANT_SCOPES))}.",
        )  # fmt: skip
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput("The expiry lies in the past.", field="expires_at")
    prefix = secrets.token_hex(5)
    key = f"cp_{prefix}_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        row = ApiKey.objects.create(
            name=check_name(name)[:80],
            prefix=prefix,
            digest=_digest(key),
            scopes=wanted,
            expires_at=expires_at,
            tenant=tenant,
            created_by=actor.label[:150],
        )
        audit.record("api_key.create", actor=actor, source=source, tenant=tenant, target=row, after={"scopes": wanted})
    return row, key


def find_api_key(text: str) -> ApiKey | None:
    """The usable key that `text` is, or None. Notes its use, to the minute."""
    match = KEY.match(text)
    row: ApiKey | None = _with_prefix(match.group(1)) if match else None
    # Compared even when nothing was found, so that the time taken tells nothing.
    same = hmac.compare_digest(row.digest if row else "0" * 64, _digest(text))
    if row is None or not same or not row.usable:
        return None
    now = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_GRAIN)
    if row.last_used_at is None or row.last_used_at < now - LAST_USED_GRAIN:
        ApiKey.objects.filter(stale, pk=row.pk).update(last_used_at=now)
    return row


def _with_prefix(prefix: str) -> Any:
    query = "SELECT {key} FROM tenants_apikey AS key WHERE key.prefix = %(prefix)s"
    return rows.select_one(query, {"key": ApiKey}, {"prefix": prefix})["key"]


def revoke_api_key(*, api_key: ApiKey, reason: str = "", actor: Actor, source: Source) -> ApiKey:
    """Make a key useless, at once and for good. Raises Conflict when it already is."""
    with transaction.atomic():
        if not ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            raise Conflict("This key was revoked already.", code="already_revoked")
        audit.record("api_key.revoke", actor=actor, source=source, target=api_key, reason=reason)
    api_key.refresh_from_db()
    return api_key
