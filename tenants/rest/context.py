"""Who asks and from where: the one place that makes an Actor and a Source of a request."""

from __future__ import annotations

import ipaddress
from typing import Any
from uuid import UUID

from django.conf import settings

from tenants.actors import Actor, Source
from tenants.models import ApiKey

ANONYMOUS = Actor(kind="anonymous", id="", label="anonymous")


def client_ip(request: Any) -> str | None:
    """The caller's address. X-Forwarded-For counts only behind our own proxy (BEHIND_PROXY), and then its last
    entry, which that proxy has written; all others are the caller's to invent."""
    text = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        text = request.META.get("HTTP_X_FORWARDED_FOR", text).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def request_id(request: Any) -> str:
    """The id that answer, logs and audit events of this request share; ProblemMiddleware sets it."""
    return str(getattr(request, "request_id", ""))


def source_of(request: Any, *, channel: str = "rest") -> Source:
    """Where the request came in."""
    return Source(channel=channel, ip=client_ip(request), request_id=request_id(request))


def bound_tenant(request: Any) -> UUID | None:
    """The only tenant that the caller's API key sees; None for keys of the fleet and for people."""
    key = getattr(request, "auth", None)
    return key.tenant_id if isinstance(key, ApiKey) else None


def actor_of(request: Any) -> Actor:
    """Who asks: an API key, a signed-in user, or nobody known."""
    key = getattr(request, "auth", None)
    if isinstance(key, ApiKey):
        return Actor(kind="api_key", id=str(key.pk), label=f"{key.name} ({key.prefix})")
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return Actor(kind="user", id=str(user.pk), label=user.get_username())
    return ANONYMOUS
