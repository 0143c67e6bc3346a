"""Work that survives its workers.

The Operation row in PostgreSQL is the truth. A worker claims it by compare-and-swap with a new attempt number, its
process beats for it, and when the beats stop anybody claims it again and goes on: finished steps are skipped,
unfinished ones are repeated (each is idempotent). Celery only wakes workers.
"""

from tenants.operations.queue import (
    cancel,
    cancellable,
    claim,
    create,
    due,
    needed_to_retry,
    retry,
    retryable,
    wake,
    work,
)
from tenants.operations.run import Run, execute
from tenants.operations.workflow import Workflow, register

__all__ = [
    "Run",
    "Workflow",
    "cancel",
    "cancellable",
    "claim",
    "create",
    "due",
    "execute",
    "needed_to_retry",
    "register",
    "retry",
    "retryable",
    "wake",
    "work",
]
