"""Who came in, who was turned away, who left: recorded, nothing more."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from tenants import audit
from tenants.actors import Actor, Source
from tenants.callers import source_of
from tenants.models import AuditEvent

UNKNOWN = "unknown user"


def connect() -> None:
    """Listen to Django's logins. Called once, when the app is ready."""
    user_logged_in.connect(_logged_in, dispatch_uid="audit-login")
    user_logged_out.connect(_logged_out, dispatch_uid="audit-logout")
    user_login_failed.connect(_login_failed, dispatch_uid="audit-login-failed")


def _source(request: HttpRequest | None) -> Source:
    return source_of(request) if request is not None else Source(channel="command")


def _actor(user: Any) -> Actor:
    return Actor(kind="user", id=str(user.pk), label=user.get_username())


def _logged_in(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    audit.record("login.success", actor=_actor(user), source=_source(request), target=user)


def _logged_out(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        audit.record("login.logout", actor=_actor(user), source=_source(request), target=user)


def _login_failed(*, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """What was typed is kept only when it is somebody's name: people type passwords into the wrong field."""
    typed = str(credentials.get("username") or "").replace("\0", "")
    user = get_user_model()._default_manager.filter(username=typed).first()
    audit.record(
        "login.failure",
        actor=_actor(user) if user else Actor(kind="user", id="", label=UNKNOWN),
        source=_source(request),
        target=user,
        outcome=AuditEvent.Outcome.DENIED,
    )
