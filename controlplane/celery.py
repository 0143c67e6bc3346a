"""The Celery application: it wakes workers; what there is to do stands in the registry."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_process_init
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

app = Celery("controlplane")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.set_default()  # for every thread: "current" alone holds only in the thread that imported this
app.steps["worker"].add(DjangoStructLogInitStep)


@worker_process_init.connect
def forget_inherited_connections(**_: object) -> None:
    """A forked worker must not share its parent's sockets."""
    from django.db import connections

    connections.close_all()
