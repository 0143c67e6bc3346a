"""Beat's scheduler: the database's, which leaves a mark whenever it has sent something."""

from __future__ import annotations

import time
from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from tenants import seen

EVERY_SECONDS = 1.0


class Scheduler(DatabaseScheduler):
    """Sends what is due, and says so."""

    _noted = 0.0

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send one; raises as ever when it cannot be sent, and then there is no mark."""
        sent = super().apply_async(*args, **kwargs)
        if time.monotonic() - self._noted > EVERY_SECONDS:
            self._noted = time.monotonic()
            seen.note(seen.Who.BEAT)
        return sent
