"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from backups.pitr import due as archives_due
from backups.services import drills, due, kept, removal, storages, verify


@shared_task(name="backups.start_due")
def start_due() -> int:
    """Work out who is due, and wake a worker for each lane of each cluster that has work."""
    due.plan_ahead()
    waiting = due.clusters_with_due()
    for cluster_id, count in waiting.items():
        for _ in range(min(count, settings.BACKUP_CLUSTER_CONCURRENCY)):
            run_lane.apply_async(args=(cluster_id,), retry=False, expires=20)
    return len(waiting)


@shared_task(name="backups.run_lane")
def run_lane(cluster_id: int) -> int:
    """Take what is due for some seconds and ask again: tenants that wait for a worker come in between."""
    done = due.run_lane(cluster_id)
    if done.any:
        run_lane.apply_async(args=(cluster_id,), retry=False, expires=20)
    return done.taken


@shared_task(name="backups.expire_due")
def expire_due() -> int:
    """Begin to remove what no policy keeps."""
    return removal.expire_due()


@shared_task(name="backups.reap")
def reap() -> int:
    """Take away what nobody works on any more."""
    return removal.reap()


@shared_task(name="backups.sweep_storages")
def sweep_storages() -> int:
    """Have storages forget what dead writers left."""
    return removal.sweep_storages()


@shared_task(name="backups.watch_storages")
def watch_storages() -> int:
    """Have it known which storages do not answer."""
    return storages.watch_all()


@shared_task(name="backups.verify_due")
def verify_due() -> int:
    """Have the backups read again that were read longest ago."""
    return verify.verify_due()


@shared_task(name="backups.drop_kept")
def drop_kept() -> int:
    """Drop what restores have set aside and nobody confirmed in time."""
    return kept.drop_due()


@shared_task(name="backups.drills_due")
def drills_due() -> int:
    """Have those backups proven by a restore whose turn it is."""
    return drills.drills_due()


@shared_task(name="backups.keep_archives")
def keep_archives() -> int:
    """Look at the clusters' WAL archives, begin the base backups that are due, remove left scratch instances."""
    return archives_due.keep_archives()
