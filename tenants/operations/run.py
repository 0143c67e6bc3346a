"""One attempt at an operation: its steps, its end, and its undoing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from tenants import audit, metrics
from tenants.actors import Actor, Source
from tenants.exceptions import Cancelled, ClusterBusy, ClusterUnavailable, ControlPlaneError, LeaseLost
from tenants.models import AuditEvent, Operation, OperationStep, Tenant
from tenants.operations.heartbeat import beating
from tenants.operations.workflow import WORKFLOWS
from tenants.postgres import load_queries

log = logging.getLogger(__name__)

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
MAX_ATTEMPTS = 5
State = Operation.State


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
        self.workflow = WORKFLOWS[operation.kind]
        self.attempt = operation.attempt
        self.actor = Actor(operation.actor_kind, operation.actor_id, operation.actor_label)
        self.source = Source(operation.channel, operation.ip, operation.request_id)
        self.error: ControlPlaneError | None = None
        self._done: set[str] | None = None if self.attempt > 1 else set()
        self._ended: tuple[str, datetime] | None = None  # a step whose end is not written down yet

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
        with beating(self.operation):
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

        That it has succeeded is written down together with what comes next. Raises LeaseLost or Cancelled before it
        begins.
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
        self._finished_steps().add(name)
        self._ended = (name, timezone.now())

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
        states = [State.RUNNING, State.CANCELLING] if self.operation.unwinding else [State.RUNNING]
        values: dict[str, Any] = {
            "operation": self.operation.pk,
            "name": name,
            "attempt": self.attempt,
            "progress": progress,
            "states": [str(state) for state in states],
            "now": timezone.now(),
            **self._end_of_last_step(),
        }
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["begin_step"], values)
            if not cursor.rowcount:
                raise self._interrupted()
        self._ended = None

    def _end_of_last_step(self) -> dict[str, Any]:
        ended, at = self._ended or (None, None)
        return {"ended": ended, "ended_at": at}

    def _interrupted(self) -> ControlPlaneError:
        if not self.operation.unwinding and self._mine().filter(state=State.CANCELLING).exists():
            return Cancelled()
        return LeaseLost()

    def _end_step(self, name: str, state: str, error: str = "", at: datetime | None = None) -> None:
        values: dict[str, Any] = {
            "operation": self.operation.pk,
            "name": name,
            "attempt": self.attempt,
            "state": str(state),
            "now": at or timezone.now(),
            "error": error[:1000],
        }
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["end_step"], values)

    def _write_end_of_last_step(self) -> None:
        if self._ended is not None:
            name, at = self._ended
            self._end_step(name, OperationStep.State.SUCCEEDED, at=at)
            self._ended = None

    @contextmanager
    def finish(self, **result: Any) -> Iterator[None]:
        """The last transaction of the work: what the block changes commits together with `succeeded`.

        Raises LeaseLost or Cancelled when this attempt no longer owns the operation.
        """
        now, operation = timezone.now(), self.operation
        ours: dict[str, Any] = {"operation": operation.pk, "attempt": self.attempt, "now": now, "result": Jsonb(result)}
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(QUERIES["finish"], {**ours, **self._end_of_last_step()})
                if not cursor.rowcount:
                    raise self._interrupted()
            yield
        operation.state, operation.progress, operation.finished_at = State.SUCCEEDED, 100, now
        operation.lease_expires_at, operation.result, operation.error = None, result, None
        self._count(State.SUCCEEDED, now)

    @contextmanager
    def end(self) -> Iterator[None]:
        """The last transaction of the undoing: commits together with `failed` or `cancelled`."""
        error = self.operation.unwinding or {}
        state = State.CANCELLED if error.get("code") == Cancelled.code else State.FAILED
        now = timezone.now()
        with transaction.atomic():
            if not self._mine().update(state=state, finished_at=now, lease_expires_at=None, error=error or None):
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
        self._count(state, now)

    def _count(self, outcome: str, now: datetime) -> None:
        """For Prometheus: each end once it is committed, here and nowhere else."""
        seconds = (now - self.operation.created_at).total_seconds()
        metrics.operation_ended(self.operation.kind, str(outcome), seconds)
        if self.workflow.measure is not None:
            metrics.quietly(self.workflow.measure, self.operation, str(outcome), seconds)

    def _begin_unwinding(self, error: ControlPlaneError) -> None:
        self.error = error
        self.operation.unwinding = {"code": error.code, "message": str(error)}
        self._write_end_of_last_step()
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
        self._write_end_of_last_step()
        if self.attempt >= MAX_ATTEMPTS and not self.operation.unwinding:
            self._begin_unwinding(error)
            return
        pause = timedelta(seconds=min(settings.OPERATION_RETRY_SECONDS * 2**self.attempt, 600))
        self._mine().update(
            lease_expires_at=timezone.now() + pause, worker="", error={"code": error.code, "message": str(error)}
        )
