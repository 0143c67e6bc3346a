"""`manage.py retry_operation`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import operations
from tenants.management import represent
from tenants.management.lookup import find_operation
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand
from tenants.models import Operation


class Command(OperationCommand):
    help = (
        "Try a failed or cancelled operation again, as a new one that refers to the old. Credentials of a tenant "
        "provisioned this way are fetched with collect_credentials."
    )
    examples = """
  manage.py retry_operation 0b9d… --wait
  manage.py retry_operation 0b9d… --here      # no worker is running
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", metavar="ID", help="the id of the operation that failed")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        again = operations.retry(find_operation(options["operation"]), **self.caller)
        if self.waits(options):
            again = self.finish(again, here=options["here"], timeout=options["timeout"])
        return represent.operation(again, steps=True)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"Operation {document['id']} is {document['state']}; it tries {document['retry_of']} again.")
        if document["kind"] == "tenant.provision" and document["state"] == Operation.State.SUCCEEDED:
            out.line(f"Its credentials, once: manage.py collect_credentials {document['id']}", style="dim")
