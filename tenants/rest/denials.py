"""Refusals in the audit log: all of a known caller, few of an unknown one, the rest counted."""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache import cache

from tenants import audit
from tenants.models import AuditEvent
from tenants.rest.context import ANONYMOUS, actor_of, source_of
from tenants.rest.throttling import count

log = logging.getLogger(__name__)
ANONYMOUS_EVENTS_PER_MINUTE = 5
COUNTED_SECONDS = 7 * 24 * 3600


def record_denial(request: Any, *, code: str, reason: str) -> None:
    """Append `access.denied`. An address without credentials gets five events a minute; how many were left out
    stands in its next one as `not_recorded`."""
    actor, source = actor_of(request), source_of(request)
    after: dict[str, Any] = {"code": code, "method": request.method, "path": request.path[:200]}
    if actor == ANONYMOUS:
        left_out = _left_out(source.ip or "unknown")
        if left_out is None:
            return
        if left_out:
            after["not_recorded"] = left_out
    audit.record(
        "access.denied", actor=actor, source=source, outcome=AuditEvent.Outcome.DENIED, after=after, reason=reason
    )


def _left_out(address: str) -> int | None:
    """None when this event is one too many, else how many were since the last one written."""
    name = f"denials-left-out:{address}"
    too_many = count(f"denials:{address}", 60) > ANONYMOUS_EVENTS_PER_MINUTE
    try:
        if too_many:
            cache.add(name, 0, timeout=COUNTED_SECONDS)
            cache.incr(name)
            return None
        left_out = int(cache.get(name) or 0)
        if left_out:
            cache.delete(name)
        return left_out
    except Exception as error:
        log.warning("denials.not_counted", extra={"error": type(error).__name__})
        return None if too_many else 0
