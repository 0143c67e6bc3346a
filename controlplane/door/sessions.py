"""Sessions of the admin: how long, how many, and their end."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from controlplane.door.models import SessionRecord
from tenants import audit
from tenants.actors import Actor, Source
from tenants.callers import actor_of, source_of
from tenants.recent import note_confirmed
from tenants.rest.context import client_ip

BEGAN, SEEN, FACTOR = "door.began", "door.seen", "door.factor"
TOUCH_SECONDS = 60


def begin(request: HttpRequest, user: Any, *, factor: bool) -> None:
    """Sign somebody in who has shown all there is to show; of too many sessions the oldest end."""
    login(request, user)
    now = time.time()
    request.session[BEGAN] = request.session[SEEN] = now
    request.session[FACTOR] = factor
    note_confirmed(request.session)
    request.session.set_expiry(settings.SESSION_COOKIE_AGE)
    request.session.save()
    agent = request.headers.get("User-Agent", "")[:200]
    with transaction.atomic():
        SessionRecord.objects.update_or_create(
            session_key=request.session.session_key,
            defaults={"user": user, "ip": client_ip(request), "agent": agent.replace("\0", "")},
        )
        surplus = list(living(user)[settings.MAX_SESSIONS :])
        if surplus:
            _end(surplus)
            audit.record(
                "session.end", actor=actor_of(request), source=source_of(request), target=user,
                after={"ended": len(surplus)}, reason=f"More than {settings.MAX_SESSIONS} at once.",
            )  # fmt: skip


def living(user: Any) -> Any:
    """The person's sessions that still work, the one used last first."""
    keys = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    return SessionRecord.objects.filter(user=user, session_key__in=keys)


def _end(records: Any) -> int:
    keys = [record.session_key for record in records]
    Session.objects.filter(session_key__in=keys).delete()
    return SessionRecord.objects.filter(session_key__in=keys).delete()[0]


def end_all(
    *, user: Any, keep: str | None = None, only: int | None = None, reason: str = "", actor: Actor, source: Source
) -> int:
    """End all sessions of a person but the one with the key `keep`, or only the one with this number. Returns how
    many. A request under way with such a session is the last one."""
    with transaction.atomic():
        records = SessionRecord.objects.filter(user=user).exclude(session_key=keep or "")
        if only is not None:
            records = records.filter(pk=only)
        count = _end(list(records))
        audit.record("session.end", actor=actor, source=source, target=user, after={"ended": count}, reason=reason)
    return count


def is_over(request: HttpRequest) -> str:
    """Why this session has to end: `idle` or `age`; empty when it goes on. Notes that it was used.

    What a page asks by itself (htmx polls) does not count as use.
    """
    session, now = request.session, time.time()
    if now - session.setdefault(BEGAN, now) > settings.SESSION_COOKIE_AGE:
        return "age"
    if now - session.setdefault(SEEN, now) > settings.SESSION_IDLE_SECONDS:
        return "idle"
    if now - session[SEEN] > TOUCH_SECONDS and not request.headers.get("HX-Request"):
        session[SEEN] = now
        SessionRecord.objects.filter(session_key=session.session_key).update(seen_at=timezone.now())
    return ""


def expire(request: HttpRequest, why: str) -> None:
    """End this session because of its age or its idleness, on record."""
    audit.record(
        "session.expire", actor=actor_of(request), source=source_of(request), target=request.user, after={"why": why}
    )
    SessionRecord.objects.filter(session_key=request.session.session_key).delete()
    logout(request)


def forget_old() -> int:
    """Delete records of sessions that are over, and expired sessions themselves. Returns how many records."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    dead = SessionRecord.objects.exclude(session_key__in=Session.objects.values("session_key"))
    # A record is written a moment after its session: leave the youngest alone.
    return dead.filter(created_at__lt=timezone.now() - timedelta(minutes=1)).delete()[0]
