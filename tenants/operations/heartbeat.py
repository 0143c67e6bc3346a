"""Beating: how a process says that it still works on its operations."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import Q
from django.utils import timezone

from tenants.models import Operation

log = logging.getLogger(__name__)
State = Operation.State


def worker_name() -> str:
    """This process, as operations show it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def lease() -> timedelta:
    """How long a worker is believed alive after a beat."""
    return timedelta(seconds=settings.OPERATION_LEASE_SECONDS)


_running: dict[Any, int] = {}
_running_lock = threading.Lock()
_beater: threading.Thread | None = None
_beater_pid = 0


@contextmanager
def beating(operation: Operation) -> Iterator[None]:
    """Have this process beat for `operation`: one thread and one connection serve all its operations."""
    global _beater, _beater_pid
    with _running_lock:
        if _beater_pid != os.getpid():
            _running.clear()
            _beater = None
            _beater_pid = os.getpid()
        _running[operation.pk] = operation.attempt
        if _beater is None:
            _beater = threading.Thread(target=_beat_forever, name="operation-heartbeat", daemon=True)
            _beater.start()
    try:
        yield
    finally:
        with _running_lock:
            _running.pop(operation.pk, None)


def _beat_forever() -> None:
    pause = threading.Event()
    while True:
        pause.wait(settings.OPERATION_LEASE_SECONDS / 3)
        with _running_lock:
            mine = dict(_running)
        if mine:
            _beat(mine)


def _beat(mine: dict[Any, int]) -> None:
    now = timezone.now()
    owned = Q()
    for pk, attempt in mine.items():
        owned |= Q(pk=pk, attempt=attempt)
    try:
        Operation.objects.filter(owned, state__in=[State.RUNNING, State.CANCELLING], worker=worker_name()).update(
            heartbeat_at=now, lease_expires_at=now + lease()
        )
    except Exception as error:
        log.warning("operation.heartbeat_failed", extra={"error": type(error).__name__})
        connections.close_all()
