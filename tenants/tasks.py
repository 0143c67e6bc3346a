"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task

from tenants import certificates, clusters, housekeeping, operations, pooling, seen
from tenants.actors import BEAT, SYSTEM
from tenants.ledger import checkpoints, sealer, verification


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
    seen.note(seen.Who.TASKS)


@shared_task(name="tenants.check_clusters")
def check_clusters() -> int:
    """Read every cluster's version and extensions again, and when its certificate ends."""
    certificates.look_at_all()
    return clusters.check_all()


@shared_task(name="tenants.seal_audit_log")
def seal_audit_log() -> int:
    """Give new events their place in the chain, unless the sealer does."""
    return sealer.seal_pending() or 0


@shared_task(name="tenants.checkpoint_audit_log")
def checkpoint_audit_log() -> None:
    """Sign the end of the chain and bring that out."""
    checkpoints.checkpoint()


@shared_task(name="tenants.verify_audit_log")
def verify_audit_log() -> bool:
    """Verify what came since the last good verification."""
    return verification.verify_and_note(full=False, actor=SYSTEM, source=BEAT)[0].ok


@shared_task(name="tenants.verify_whole_audit_log")
def verify_whole_audit_log() -> bool:
    """Verify all of it."""
    return verification.verify_and_note(actor=SYSTEM, source=BEAT)[0].ok


@shared_task(name="tenants.check_poolers")
def check_poolers() -> int:
    """Look at every pooler and its way to the server."""
    return pooling.check_all()


@shared_task(name="tenants.sync_poolers")
def sync_poolers() -> int:
    """Bring every pooler's configuration up to date with plans and tenants."""
    return pooling.sync_all()
