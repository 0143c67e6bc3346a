"""Celery's way in."""

from __future__ import annotations

from celery import shared_task

from controlplane.door import lockout, sessions


@shared_task(name="door.tidy")
def tidy() -> int:
    """Forget attempts and sessions that are over."""
    return lockout.forget_old() + sessions.forget_old()
