"""How restores are carried out: idempotent steps, each of which anybody may run again."""

from __future__ import annotations

from typing import Any

from tenants import belongings, metrics, operations
from tenants.models import Operation
from tenants.operations import Workflow

KINDS = {
    "backup.restore": "in_place",
    "backup.restore_copy": "copy",
    "backup.restore_tables": "tables",
    "backup.recover": "point_in_time",
}


def measure(operation: Operation, outcome: str, seconds: float) -> None:
    """How long a restore took."""
    metrics.RESTORE_SECONDS.labels(KINDS[operation.kind], outcome).observe(seconds)


def register() -> None:
    """Make these known to the operations."""
    from backups.restores import copying, drilling, replacing, settling, tables, unfinished
    from backups.services import drills, restore

    needed: dict[str, Any] = {
        "scope": "backups:restore", "permission": "backups.restore_backup", "measure": measure,
    }  # fmt: skip
    for workflow in (
        Workflow(
            "backup.restore_copy",
            copying.restore_copy,
            copying.undo,
            retry=restore.retry_copy,
            heavy=True,
            steps=4,
            **needed,
        ),
        Workflow(
            "backup.restore",
            replacing.restore_same,
            replacing.undo,
            retry=restore.retry_same,
            heavy=True,
            steps=7,
            **needed,
            confirmed=True,
        ),
        Workflow(
            "backup.restore_tables",
            tables.restore_tables,
            tables.undo,
            retry=restore.retry_same,
            heavy=True,
            steps=6,
            **needed,
            confirmed=True,
        ),
        Workflow("backup.undo_restore", settling.undo_restore, settling.undo_undoing, steps=4),
        Workflow(
            "backup.drill",
            drilling.hold_drill,
            drilling.undo_drill,
            retry=drills.retry_drill,
            heavy=True,
            steps=5,
            scope="backups:write",
            permission="backups.run_restoredrill",
        ),
        Workflow("backup.drop_kept", settling.drop_kept, heavy=True, cancellable=False),
    ):
        operations.register(workflow)
    belongings.register(settling.remove_of, unfinished.schemas_on)
