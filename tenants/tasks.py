"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.core.cache import cache

from tenants import clusters, housekeeping, operations


@shared_task(name="tenants.run_operation", acks_late=True)
def run_operation(operation_id: str) -> int:
    """Carry out one operation, then whatever else is due."""
    return operations.work(operation_id)


@shared_task(name="tenants.dispatch_operations")
def dispatch_operations() -> int:
    """Wake a worker for each operation whose message or worker was lost. Beat calls this every few seconds.

    One message each: an operation that kills its worker must not keep the others waiting.
    """
    waiting = operations.due()
    for operation_id in waiting:
        run_operation.apply_async(args=(str(operation_id),), retry=False)
    return len(waiting)


@shared_task(name="tenants.forget_old_requests")
def forget_old_requests() -> int:
    """Remove idempotency records past their time."""
    return housekeeping.forget_old_requests()


@shared_task(name="tenants.worker_heartbeat")
def worker_heartbeat() -> None:
    """Note that beat sent this and a worker took it; `/readyz` looks at the note."""
    cache.set(settings.WORKER_SEEN_KEY, True, timeout=settings.WORKER_SEEN_SECONDS)


@shared_task(name="tenants.check_clusters")
def check_clusters() -> int:
    """Read every cluster's version and extensions again."""
    return clusters.check_all()
