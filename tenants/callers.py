"""Who sits in front of the admin, as services want to know it."""

from __future__ import annotations

from django.http import HttpRequest

from tenants.actors import Actor, Source
from tenants.rest import context


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person; for somebody who is not, an actor without an id."""
    return context.actor_of(request)


def source_of(request: HttpRequest) -> Source:
    """The admin, and where in it the request came from."""
    return context.source_of(request, channel="admin")
