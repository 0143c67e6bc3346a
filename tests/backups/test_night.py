"""A night by real workers: beat's task finds who is due, lanes take them."""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.conf import settings

from backups import tasks
from backups.models import Backup
from backups.services import due
from tests.backups.support import make_due, whole
from tests.support.processes import wait_for


def test_workers_take_what_is_due(tenant: Any, disk: Any, celery_worker_process: Any) -> None:
    mine = [tenant(rows=n) for n in range(1, 4)]
    make_due(*mine)
    assert tasks.start_due() >= 1
    found = Backup.objects.filter(origin_id__in=[each.pk for each in mine], state="succeeded")
    wait_for(lambda: found.count() == 3, seconds=60, what="three backups", running=celery_worker_process)
    assert {row.operation.worker for row in found.select_related("operation")} != {""}
    assert {row.channel for row in (backup.operation for backup in found)} == {"beat"}
    assert len(whole(disk)) == 3
    assert mine[0].cluster_id not in due.clusters_with_due()


def test_beat_sends_only_tasks_that_there_are() -> None:
    current_app.loader.import_default_modules()
    wanted = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert wanted >= {f"backups.{name}" for name in ("start_due", "expire_due", "reap", "sweep_storages", "verify_due")}
    assert wanted <= set(current_app.tasks)
