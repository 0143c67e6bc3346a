"""`manage.py run_operation`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.exceptions import Conflict
from tenants.management import represent
from tenants.management.commands.show_operation import show_operation
from tenants.management.lookup import find_operation
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Carry out a waiting operation in this process, as a worker would: for when no worker runs. One that a "
        "worker is at is waited for; should the worker die, its work is taken over."
    )
    examples = """
  manage.py run_operation 0b9d…
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", metavar="ID", help="the operation's id")
        parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="how long to wait at most")

    def run(self, **options: Any) -> dict[str, Any]:
        operation = find_operation(options["operation"])
        if not operation.is_open:
            raise Conflict(f"This operation is over: it {operation.state}.", code="operation_over")
        done = self.finish(operation, here=True, timeout=options["timeout"])
        return represent.operation(done, steps=True)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        show_operation(document, out)
