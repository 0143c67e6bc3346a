"""Getting operations to those who carry them out, and stopping or repeating them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Model
from django.utils import timezone

from tenants import audit, rows
from tenants.actors import Actor, Source
from tenants.exceptions import Cancelled, Conflict
from tenants.models import Cluster, ClusterLogin, Operation, Plan, Tenant
from tenants.models.operations import OPEN_STATES
from tenants.operations.heartbeat import lease, worker_name
from tenants.operations.run import QUERIES, Run
from tenants.operations.workflow import WORKFLOWS, Workflow

log = logging.getLogger(__name__)
State = Operation.State


def create(
    kind: str,
    *,
    actor: Actor,
    source: Source,
    tenant: Tenant | None = None,
    cluster: Cluster | None = None,
    params: dict[str, Any] | None = None,
    reason: str = "",
    exclusive: bool = True,
    inline: bool = False,
    retry_of: Operation | None = None,
    along_with: Sequence[Model] = (),
    id: uuid.UUID | None = None,
) -> Operation:
    """Add an operation inside the caller's transaction, and new rows `along_with` it by the same statement (which may
    refer to it when it is given an `id`).

    `inline` ones belong to this process from the start (call `execute` after the commit); others are left for the
    workers, which are woken when the transaction commits. Raises Conflict, naming the first, when the tenant already
    has an open exclusive operation.
    """
    now = timezone.now()
    operation = Operation(
        id=id or uuid.uuid4(),
        kind=kind,
        tenant=tenant,
        cluster=cluster or (tenant.cluster.server if tenant else None),
        params=params or {},
        reason=reason[:500],
        exclusive=exclusive,
        retry_of=retry_of,
        actor_kind=actor.kind,
        actor_id=actor.id[:64],
        actor_label=actor.label[:150],
        channel=source.channel,
        ip=source.ip,
        request_id=source.request_id[:64],
        created_at=now,
    )
    if inline:
        operation.state, operation.attempt, operation.worker = State.RUNNING, 1, worker_name()
        operation.started_at = operation.heartbeat_at = now
        operation.lease_expires_at = now + lease()
    _insert(operation, along_with)
    if not inline:
        transaction.on_commit(lambda: wake(operation))
    return operation


def _insert(operation: Operation, along_with: Sequence[Model]) -> None:
    if any(row is operation.tenant for row in along_with):  # a new tenant: no other operation could be in the way
        rows.insert(*along_with, operation)
        return
    try:
        with transaction.atomic():
            rows.insert(*along_with, operation)
    except IntegrityError as error:
        raise _busy(operation.tenant) from error


def _busy(tenant: Tenant | None) -> Conflict:
    first = Operation.objects.filter(tenant=tenant, exclusive=True, state__in=OPEN_STATES).first()
    return Conflict(
        "Another operation on this tenant is still open.",
        code="operation_in_progress",
        hint="Wait for it, or cancel it.",
        operation=str(first.pk) if first else None,
    )


def wake(operation: Operation) -> None:
    """Send the workers a message. Losing it only costs time: beat looks for pending operations too."""
    from tenants.tasks import run_operation  # Celery entry points import this module

    try:
        run_operation.apply_async(args=(str(operation.pk),), retry=False)
    except Exception as error:  # the broker may be down; the row is there
        log.warning("operation.wake_failed", extra={"operation": str(operation.pk), "error": type(error).__name__})


def claim(operation_id: Any) -> Run | None:
    """Take a pending or abandoned operation, or None when it is somebody else's, done, or its cluster is full.

    By statements of our own: in a rush each new tenant passes here several times.
    """
    now = timezone.now()
    mine: dict[str, Any] = {"operation": operation_id, "now": now, "worker": worker_name(), "until": now + lease()}
    with transaction.atomic():
        operation = _claimable(mine)
        if operation is None or operation.kind not in WORKFLOWS or not _take(operation, mine):
            return None
    operation.attempt += 1
    operation.worker, operation.started_at = mine["worker"], operation.started_at or now
    operation.heartbeat_at, operation.lease_expires_at = now, mine["until"]
    if operation.state == State.PENDING:
        operation.state = State.RUNNING
    return Run(operation)


def _claimable(mine: dict[str, Any]) -> Operation | None:
    """The operation, locked, with its tenant and its cluster; None when it is not to be had."""
    models: dict[str, type[Model]] = {
        "operation": Operation,
        "tenant": Tenant,
        "plan": Plan,
        "cluster": Cluster,
        "provisioner": ClusterLogin,
    }
    found = rows.select_one(QUERIES["claimable"], models, mine)
    operation: Operation | None = found["operation"]
    if operation is not None and found["tenant"] is not None:
        operation.tenant = found["tenant"]
        operation.tenant.plan, operation.tenant.cluster = found["plan"], found["cluster"]
        operation.tenant.cluster.provisioner = found["provisioner"]
    return operation


def _take(operation: Operation, mine: dict[str, Any]) -> bool:
    """Make it ours, unless as much heavy work as its cluster bears is running there. Locks the cluster's row first, so
    that two workers cannot both find the last place free."""
    heavy = [kind for kind, workflow in WORKFLOWS.items() if workflow.heavy]
    bounded: dict[str, Any] = {"cluster": operation.cluster_id, "heavy": heavy, "most": None}
    with connection.cursor() as cursor:
        if WORKFLOWS[operation.kind].heavy and operation.cluster_id is not None:
            # Two statements: the second must see what was committed while the first waited.
            cursor.execute(QUERIES["lock_cluster"], bounded)
            (bounded["most"],) = cursor.fetchone()
        cursor.execute(QUERIES["take"], {**mine, **bounded})
        return cursor.rowcount == 1


def due() -> list[Any]:
    """Ids of operations that wait for a worker: pending, or abandoned by theirs; oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["due"], {"now": timezone.now()})
        return [row[0] for row in cursor.fetchall()]


def cancellable(operation: Operation) -> bool:
    """Whether `cancel` would do something about it, as far as can be told now."""
    workflow = WORKFLOWS.get(operation.kind)
    if operation.state == State.RUNNING:
        return workflow is not None and workflow.cancellable and not operation.unwinding
    return operation.state == State.PENDING


def needed_to_retry(operation: Operation) -> Workflow | None:
    """What kind of work it is, and so what a caller needs to start it again; None when nobody knows it any more."""
    return WORKFLOWS.get(operation.kind)


def retryable(operation: Operation) -> bool:
    """Whether `retry` would start it again, as far as can be told now."""
    workflow = WORKFLOWS.get(operation.kind)
    return operation.state in (State.FAILED, State.CANCELLED) and workflow is not None and workflow.retry is not None


def cancel(operation: Operation, *, actor: Actor, source: Source, reason: str = "") -> Operation:
    """Ask for an operation to be cancelled: one that waits is undone here and now, a running one at its next step.

    Raises Conflict when it is already over.
    """
    now = timezone.now()
    with transaction.atomic():
        waiting = Operation.objects.filter(pk=operation.pk, state=State.PENDING).update(
            state=State.CANCELLING,
            attempt=F("attempt") + 1,
            worker=worker_name(),
            started_at=now,
            heartbeat_at=now,
            lease_expires_at=now + lease(),
            unwinding={"code": Cancelled.code, "message": str(Cancelled())},
        )
        running = WORKFLOWS[operation.kind].cancellable and Operation.objects.filter(
            pk=operation.pk, state=State.RUNNING, unwinding__isnull=True
        ).update(state=State.CANCELLING)
        if not (waiting or running):
            raise Conflict("This operation can no longer be cancelled.", code="operation_not_cancellable")
        audit.record(
            "operation.cancel", actor=actor, source=source, tenant=operation.tenant, target=operation, reason=reason
        )
    operation.refresh_from_db()
    if waiting:
        Run(operation).perform()
        operation.refresh_from_db()
    return operation


def retry(operation: Operation, *, actor: Actor, source: Source) -> Operation:
    """Start the same work again as a new operation. Raises Conflict unless the old one failed or was cancelled."""
    if operation.state not in (State.FAILED, State.CANCELLED):
        raise Conflict("Only a failed or cancelled operation can be tried again.", code="operation_not_retryable")
    workflow = WORKFLOWS.get(operation.kind)
    if workflow is None or workflow.retry is None:
        raise Conflict(f"Operations of kind {operation.kind} cannot be tried again.", code="operation_not_retryable")
    with transaction.atomic():
        again = workflow.retry(operation, actor, source)
        audit.record("operation.retry", actor=actor, source=source, tenant=operation.tenant, target=operation)
    return again


def work(first: Any = None) -> int:
    """Carry out `first` and then whatever else is due, until nothing is left to claim. Returns how many."""
    count = 0
    candidates = [first] if first is not None else due()
    while (run := next(filter(None, map(claim, candidates)), None)) is not None:
        run.perform()
        count += 1
        candidates = due()
    return count
