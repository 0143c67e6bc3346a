"""Who sits in front of the admin, as services want to know it."""

from __future__ import annotations

import structlog
from django.http import HttpRequest

from tenants.actors import Actor, Source


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person; for somebody who is not, an actor without an id."""
    user = request.user
    return Actor(kind="user", id=str(user.pk or ""), label=user.get_username() or "anonymous")


def source_of(request: HttpRequest) -> Source:
    """The admin, and where in it the request came from."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return Source(channel="admin", ip=request.META.get("REMOTE_ADDR") or None, request_id=str(request_id))
