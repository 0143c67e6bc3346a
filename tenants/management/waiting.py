"""For commands whose work goes to a worker: waiting for it, or doing it in this process."""

from __future__ import annotations

import argparse
import time
from typing import Any

from celery import current_app
from django.core.management.base import CommandParser

from tenants import operations, seen
from tenants.exceptions import ControlPlaneError
from tenants.management.base import ControlPlaneCommand
from tenants.management.errors import OperationFailed, StillRunning
from tenants.models import Operation

DEFAULT_TIMEOUT_SECONDS = 600
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 2.0
PING_SECONDS = 1.0
NO_WORKER = "No worker is running, so nothing happens yet."


def workers_answer() -> bool:
    """Whether any worker takes work: by the sign of life it leaves, or else by asking (one second)."""
    try:
        return seen.lately(seen.Who.WORKER) or bool(current_app.control.inspect(timeout=PING_SECONDS).ping())
    except Exception:  # the message queue is down: workers cannot hear either
        return False


class OperationCommand(ControlPlaneCommand):
    """A command that starts an operation and can wait for its end."""

    def waiting_arguments(self, parser: CommandParser) -> None:
        """`--wait`, `--no-wait`, `--here` and `--timeout`."""
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--wait",
            action="store_true",
            default=None,
            help="wait until a worker has finished it (the default on a terminal)",
        )
        group.add_argument(
            "--no-wait", action="store_false", dest="wait", help="return at once (the default elsewhere)"
        )
        group.add_argument("--here", action="store_true", help="do the work in this process, without a worker")
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=DEFAULT_TIMEOUT_SECONDS,
            metavar="SECONDS",
            help=f"how long to wait (default: {DEFAULT_TIMEOUT_SECONDS}); the operation goes on after that",
        )

    def waits(self, options: dict[str, Any]) -> bool:
        """Whether to wait, as asked for or by what stdout is."""
        if options["here"]:
            return True
        return bool(self.stdout.isatty()) if options["wait"] is None else bool(options["wait"])

    def finish(self, operation: Operation, **options: Any) -> Operation:
        """Wait for `operation` (or do it here) and return it as it ended. Raises OperationFailed, StillRunning."""
        self.interrupted_hint = f"; the operation goes on: manage.py show_operation {operation.pk}"
        label = f"{operation.kind} {operation.tenant or ''}".strip()
        with self.out.progress(label, total=100) as bar:
            done = self._follow(operation, bar, **options)
        self.interrupted_hint = ""
        if done.state != Operation.State.SUCCEEDED:
            raise failure_of(done)
        return done

    def _follow(self, operation: Operation, bar: Any, *, here: bool, timeout: float, **options: Any) -> Operation:
        begun, asked = time.monotonic(), False
        while True:
            if here and (run := operations.claim(operation.pk)) is not None:
                run.perform()
            operation.refresh_from_db()
            bar.update(completed=operation.progress, description=_describe(operation))
            if not operation.is_open:
                return operation
            waited = time.monotonic() - begun
            if waited > timeout:
                raise self._late(operation, timeout)
            if operation.state == Operation.State.PENDING and waited > PATIENCE_SECONDS and not (here or asked):
                asked = True
                if not workers_answer():
                    self.out.remark(f"{NO_WORKER} {what_to_do(operation)}")
            time.sleep(POLL_SECONDS)

    def _late(self, operation: Operation, timeout: float) -> StillRunning:
        idle = operation.state == Operation.State.PENDING and not workers_answer()
        return StillRunning(
            f"Not finished within {timeout:g} s." + (f" {NO_WORKER}" if idle else " It goes on."),
            code="no_worker" if idle else None,
            hint=what_to_do(operation) if idle else f"Look again: manage.py show_operation {operation.pk}",
            operation=str(operation.pk),
        )


def what_to_do(operation: Operation) -> str:
    """How to get an operation going when no worker is there."""
    return (
        f"Start one (make run, or celery -A controlplane worker), or do it here: manage.py run_operation {operation.pk}"
    )


def failure_of(operation: Operation) -> ControlPlaneError:
    """The error with which an operation ended."""
    error = operation.error or {}
    hint = f"See manage.py show_operation {operation.pk}"
    if operation.kind == "tenant.provision":
        hint += f", then manage.py retry_operation {operation.pk}"
    return OperationFailed(
        str(error.get("message") or f"It was {operation.state}."),
        code=str(error.get("code") or operation.state),
        hint=f"{hint}.",
        operation=str(operation.pk),
    )


def _describe(operation: Operation) -> str:
    step = operation.steps.order_by("-started_at", "-id").values_list("name", flat=True).first()
    return f"{operation.kind} {operation.tenant or ''} · {step or operation.state}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0 to 86400")
    return seconds
