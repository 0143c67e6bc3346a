"""Work that survives its workers.

The Operation row in PostgreSQL is the truth. A worker claims it by compare-and-swap with a new attempt number, its
process beats for it, and when the beats stop anybody claims it again and goes on: finished steps are skipped,
unfinished ones are repeated (each is idempotent). Celery only wakes workers.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import (
    Cancelled,
    ClusterBusy,
    ClusterUnavailable,
    Conflict,
    ControlPlaneError,
    LeaseLost,
)
from tenants.models import AuditEvent, Cluster, Operation, OperationStep, Tenant
from tenants.models.operations import OPEN_STATES

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
State = Operation.State


@dataclass(frozen=True)
class Workflow:
    """How one kind of operation is carried out.

    `execute` does the work in steps and ends with `run.finish()`. `undo` takes back what `execute` may have done and
    ends with `run.end()`; it runs after a failure or a cancellation. `heavy` work is bounded per cluster. What is
    not `cancellable` can only be cancelled before it begins.
    """

    kind: str
    execute: Callable[[Run], None]
    undo: Callable[[Run], None] | None = None
    retry: Callable[[Operation, Actor, Source], Operation] | None = None
    heavy: bool = False
    cancellable: bool = True
    steps: int = 1


_workflows: dict[str, Workflow] = {}


def register(workflow: Workflow) -> None:
    """Make a kind of operation known. The apps above do this when they are loaded."""
    _workflows[workflow.kind] = workflow


def worker_name() -> str:
    """This process, as operations show it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def lease() -> timedelta:
    """How long a worker is believed alive after a beat."""
    return timedelta(seconds=settings.OPERATION_LEASE_SECONDS)


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
) -> Operation:
    """Add an operation inside the caller's transaction.

    `inline` ones belong to this process from the start (call `execute` after the commit); others are left for the
    workers, which are woken when the transaction commits. Raises Conflict, naming the first, when the tenant already
    has an open exclusive operation.
    """
    now = timezone.now()
    operation = Operation(
        kind=kind,
        tenant=tenant,
        cluster=cluster or (tenant.cluster if tenant else None),
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
    try:
        with transaction.atomic():
            operation.save(force_insert=True)
    except IntegrityError as error:
        raise _busy(tenant) from error
    if not inline:
        transaction.on_commit(lambda: wake(operation))
    return operation


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
    """Take a pending or abandoned operation, or None when it is somebody else's, done, or its cluster is full."""
    now = timezone.now()
    with transaction.atomic():
        operation = (
            Operation.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(pk=operation_id)
            .filter(Q(state=State.PENDING) | Q(state__in=[State.RUNNING, State.CANCELLING], lease_expires_at__lt=now))
            .first()
        )
        if operation is None or operation.kind not in _workflows or _cluster_is_full(operation):
            return None
        operation.attempt += 1
        operation.worker = worker_name()
        operation.started_at = operation.started_at or now
        operation.heartbeat_at, operation.lease_expires_at = now, now + lease()
        if operation.state == State.PENDING:
            operation.state = State.RUNNING
        operation.save(update_fields=["attempt", "worker", "started_at", "heartbeat_at", "lease_expires_at", "state"])
    return Run(operation)


def _cluster_is_full(operation: Operation) -> bool:
    """Whether as much heavy work as the cluster bears is running. Locks the cluster's row, so that two workers
    cannot both find the last place free."""
    if not _workflows[operation.kind].heavy or operation.cluster_id is None:
        return False
    cluster = Cluster.objects.select_for_update().get(pk=operation.cluster_id)
    heavy = [kind for kind, workflow in _workflows.items() if workflow.heavy]
    running = Operation.objects.filter(
        cluster=cluster,
        kind__in=heavy,
        state__in=[State.RUNNING, State.CANCELLING],
        lease_expires_at__gte=timezone.now(),
    ).exclude(pk=operation.pk)
    return running.count() >= cluster.max_parallel


def due() -> list[Any]:
    """Ids of operations that wait for a worker: pending, or abandoned by theirs; oldest first."""
    return list(
        Operation.objects.filter(
            Q(state=State.PENDING) | Q(state__in=[State.RUNNING, State.CANCELLING], lease_expires_at__lt=timezone.now())
        )
        .order_by("created_at")
        .values_list("pk", flat=True)[:16]
    )


def execute(operation: Operation) -> Operation:
    """Carry out an operation created `inline`, here and now. Raises what made it fail."""
    run = Run(operation)
    run.perform()
    if run.error is not None:
        run.error.extra["operation"] = str(operation.pk)
        raise run.error
    return operation


class Run:
    """One attempt at an operation, by the process that holds its lease."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.workflow = _workflows[operation.kind]
        self.attempt = operation.attempt
        self.actor = Actor(operation.actor_kind, operation.actor_id, operation.actor_label)
        self.source = Source(operation.channel, operation.ip, operation.request_id)
        self.error: ControlPlaneError | None = None
        self._done: set[str] | None = None if self.attempt > 1 else set()

    @property
    def tenant(self) -> Tenant:
        """The tenant it is about. Raises ControlPlaneError when it is about none."""
        if self.operation.tenant is None:
            raise ControlPlaneError("This operation has no tenant.")
        return self.operation.tenant

    def _mine(self) -> Any:
        return Operation.objects.filter(
            pk=self.operation.pk, attempt=self.attempt, state__in=[State.RUNNING, State.CANCELLING]
        )

    def perform(self) -> None:
        """Work until it has succeeded, failed, been cancelled, or been taken over by somebody else."""
        with _beating(self):
            try:
                if self.operation.unwinding:
                    self._unwind()
                else:
                    self.workflow.execute(self)
            except LeaseLost as error:
                self.error = error
                log.warning("operation.lease_lost", extra={"operation": str(self.operation.pk)})
            except Cancelled as error:
                self._begin_unwinding(error)
            except (ClusterUnavailable, ClusterBusy) as error:
                self._later(error)
            except ControlPlaneError as error:
                self._begin_unwinding(error)
            except Exception as error:
                log.exception("operation.crashed", extra={"operation": str(self.operation.pk)})
                self._begin_unwinding(ControlPlaneError(f"Unexpected {type(error).__name__}.", code="internal_error"))

    @contextmanager
    def step(self, name: str) -> Iterator[bool]:
        """One idempotent step: yields False when it is already done, and records start, end and error.

        Raises LeaseLost or Cancelled before it begins.
        """
        if name in self._finished_steps():
            yield False
            return
        self._begin_step(name)
        try:
            yield True
        except Exception as error:
            text = str(error) if isinstance(error, ControlPlaneError) else type(error).__name__
            self._end_step(name, OperationStep.State.FAILED, text)
            raise
        self._end_step(name, OperationStep.State.SUCCEEDED)

    def alive(self) -> None:
        """For long steps: raises LeaseLost when somebody else has taken the operation over."""
        if not self._mine().exists():
            raise LeaseLost()

    def _finished_steps(self) -> set[str]:
        if self._done is None:
            done = self.operation.steps.filter(state=OperationStep.State.SUCCEEDED).values_list("name", flat=True)
            self._done = set(done)
        return self._done

    def _begin_step(self, name: str) -> None:
        progress = min(99, 100 * len(self._finished_steps()) // max(self.workflow.steps, 1))
        owned = self._mine() if self.operation.unwinding else self._mine().filter(state=State.RUNNING)
        with transaction.atomic():
            if not owned.update(progress=progress):
                raise self._interrupted()
            OperationStep.objects.bulk_create(
                [OperationStep(operation=self.operation, name=name, attempt=self.attempt)],
                update_conflicts=True,
                unique_fields=["operation", "name"],
                update_fields=["state", "attempt", "started_at", "ended_at", "error"],
            )

    def _interrupted(self) -> ControlPlaneError:
        if not self.operation.unwinding and self._mine().filter(state=State.CANCELLING).exists():
            return Cancelled()
        return LeaseLost()

    def _end_step(self, name: str, state: str, error: str = "") -> None:
        OperationStep.objects.filter(operation=self.operation, name=name, attempt=self.attempt).update(
            state=state, ended_at=timezone.now(), error=error[:1000]
        )
        if state == OperationStep.State.SUCCEEDED:
            self._finished_steps().add(name)

    @contextmanager
    def finish(self, **result: Any) -> Iterator[None]:
        """The last transaction of the work: what the block changes commits together with `succeeded`.

        Raises LeaseLost or Cancelled when this attempt no longer owns the operation.
        """
        done = {
            "state": State.SUCCEEDED,
            "progress": 100,
            "finished_at": timezone.now(),
            "lease_expires_at": None,
            "result": result,
            "error": None,
        }
        with transaction.atomic():
            if not self._mine().filter(state=State.RUNNING).update(**done):
                raise self._interrupted()
            yield
        for field, value in done.items():
            setattr(self.operation, field, value)

    @contextmanager
    def end(self) -> Iterator[None]:
        """The last transaction of the undoing: commits together with `failed` or `cancelled`."""
        error = self.operation.unwinding or {}
        state = State.CANCELLED if error.get("code") == Cancelled.code else State.FAILED
        with transaction.atomic():
            if not self._mine().update(
                state=state, finished_at=timezone.now(), lease_expires_at=None, error=error or None
            ):
                raise LeaseLost()
            audit.record(
                f"operation.{state}",
                actor=self.actor,
                source=self.source,
                tenant=self.operation.tenant,
                target=self.operation,
                outcome=AuditEvent.Outcome.FAILURE,
                after={"kind": self.operation.kind, "error": error},
            )
            yield

    def _begin_unwinding(self, error: ControlPlaneError) -> None:
        self.error = error
        self.operation.unwinding = {"code": error.code, "message": str(error)}
        if not self._mine().update(unwinding=self.operation.unwinding):
            return
        try:
            self._unwind()
        except LeaseLost:
            return
        except Exception as failure:
            log.exception("operation.undo_failed", extra={"operation": str(self.operation.pk)})
            self._later(
                failure if isinstance(failure, ControlPlaneError) else ControlPlaneError(type(failure).__name__)
            )

    def _unwind(self) -> None:
        if self.workflow.undo is None:
            with self.end():
                pass
        else:
            self.workflow.undo(self)

    def _later(self, error: ControlPlaneError) -> None:
        """Leave it to the next attempt, after a pause that doubles; give up after MAX_ATTEMPTS."""
        self.error = error
        if self.attempt >= MAX_ATTEMPTS and not self.operation.unwinding:
            self._begin_unwinding(error)
            return
        pause = timedelta(seconds=min(settings.OPERATION_RETRY_SECONDS * 2**self.attempt, 600))
        self._mine().update(
            lease_expires_at=timezone.now() + pause, worker="", error={"code": error.code, "message": str(error)}
        )


_running: dict[Any, int] = {}
_running_lock = threading.Lock()
_beater: threading.Thread | None = None
_beater_pid = 0


@contextmanager
def _beating(run: Run) -> Iterator[None]:
    """Have this process beat for `run`: one thread and one connection serve all its operations."""
    global _beater, _beater_pid
    with _running_lock:
        if _beater_pid != os.getpid():
            _running.clear()
            _beater = None
            _beater_pid = os.getpid()
        _running[run.operation.pk] = run.attempt
        if _beater is None:
            _beater = threading.Thread(target=_beat_forever, name="operation-heartbeat", daemon=True)
            _beater.start()
    try:
        yield
    finally:
        with _running_lock:
            _running.pop(run.operation.pk, None)


def _beat_forever() -> None:
    pause = threading.Event()
    while True:
        pause.wait(settings.OPERATION_LEASE_SECONDS / 3)
        with _running_lock:
            mine = dict(_running)
        if mine:
            _beat(mine)


def _beat(mine: dict[Any, int]) -> None:
    now = timezone.now()
    owned = Q()
    for pk, attempt in mine.items():
        owned |= Q(pk=pk, attempt=attempt)
    try:
        Operation.objects.filter(owned, state__in=[State.RUNNING, State.CANCELLING], worker=worker_name()).update(
            heartbeat_at=now, lease_expires_at=now + lease()
        )
    except Exception as error:
        log.warning("operation.heartbeat_failed", extra={"error": type(error).__name__})
        connections.close_all()


def cancellable(operation: Operation) -> bool:
    """Whether `cancel` would do something about it, as far as can be told now."""
    workflow = _workflows.get(operation.kind)
    if operation.state == State.RUNNING:
        return workflow is not None and workflow.cancellable and not operation.unwinding
    return operation.state == State.PENDING


def retryable(operation: Operation) -> bool:
    """Whether `retry` would start it again, as far as can be told now."""
    workflow = _workflows.get(operation.kind)
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
        running = _workflows[operation.kind].cancellable and Operation.objects.filter(
            pk=operation.pk, state=State.RUNNING, unwinding=None
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
    workflow = _workflows.get(operation.kind)
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
