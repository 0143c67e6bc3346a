"""The Celery application: it wakes workers; what there is to do stands in the registry."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_process_init
from django_structlog.celery.steps import DjangoStructLogInitStep

SIGN_OF_LIFE_SECONDS = 5.0

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

app = Celery("controlplane")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.set_default()  # for every thread: "current" alone holds only in the thread that imported this
app.steps["worker"].add(DjangoStructLogInitStep)


class SignOfLife(bootsteps.StartStopStep):
    """A worker's main process marks every few seconds that it lives."""

    requires = ("celery.worker.components:Timer",)
    _timer: Any = None

    def start(self, worker: Any) -> None:
        """Begin with the first mark at once."""
        _note_worker()
        self._timer = worker.timer.call_repeatedly(SIGN_OF_LIFE_SECONDS, _note_worker)

    def stop(self, worker: Any) -> None:
        """Leave no further marks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _note_worker() -> None:
    from tenants import seen  # settings must be loaded first

    seen.note(seen.Who.WORKER)


app.steps["worker"].add(SignOfLife)


@worker_process_init.connect
def forget_inherited_connections(**_: object) -> None:
    """A forked worker must not share its parent's sockets."""
    from django.db import connections

    connections.close_all()
