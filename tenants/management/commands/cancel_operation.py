"""`manage.py cancel_operation`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import operations
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_operation
from tenants.management.output import Output
from tenants.models import Operation


class Command(ControlPlaneCommand):
    help = (
        "Cancel an operation. One that waits is undone before this returns; a running one is undone by its worker "
        "at its next step (state 'cancelling' until then). What it had made is taken away again."
    )
    examples = """
  manage.py cancel_operation 0b9d… --reason "wrong plan"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", metavar="ID", help="the operation's id")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        operation = find_operation(options["operation"])
        return represent.operation(operations.cancel(operation, reason=options["reason"], **self.caller), steps=True)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"Operation {document['id']} is {document['state']}.")
        if document["state"] == Operation.State.CANCELLING:
            out.line("Its worker takes it back at its next step.", style="dim")
