"""Long work that stays cancellable: looks at its operation once a second, whatever the engine calls it with."""

from __future__ import annotations

import threading
import time

from django.db import connection

from tenants.exceptions import Cancelled, LeaseLost
from tenants.models import Operation
from tenants.operations import Run

EVERY_SECONDS = 1.0
State = Operation.State


class Watch:
    """Called with how much is done of how much; raises Cancelled or LeaseLost when the work has to stop.

    The engine calls it from its own threads too: only the thread that made it asks the registry.
    """

    def __init__(self, run: Run, *, share: tuple[int, int] = (0, 99)) -> None:
        self._run, self._share = run, share
        self._next = time.monotonic() + EVERY_SECONDS
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._stop: Exception | None = None

    def __call__(self, done: int = 0, total: int = 0, rows: int = 0) -> None:
        """Look, when it is time again."""
        with self._lock:
            if self._stop is not None:
                raise self._stop
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + EVERY_SECONDS
            try:
                self._look(done, total)
            except (Cancelled, LeaseLost) as error:
                self._stop = error
                raise
            finally:
                if threading.get_ident() != self._thread:
                    connection.close()

    def _look(self, done: int, total: int) -> None:
        low, high = self._share
        progress = min(high, low + (high - low) * done // total) if total else low
        mine = Operation.objects.filter(pk=self._run.operation.pk, attempt=self._run.attempt)
        if mine.filter(state=State.RUNNING).update(progress=progress):
            return
        if not self._run.operation.unwinding and mine.filter(state=State.CANCELLING).exists():
            raise Cancelled()
        raise LeaseLost()
