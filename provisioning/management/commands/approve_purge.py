"""`manage.py approve_purge`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = """Approve a purge that somebody else has asked for, and start it.

    Where PURGE_NEEDS_APPROVAL is set a purge waits until another person approves it. Whoever
    asked for it is refused."""
    examples = """
  manage.py approve_purge 2b9f3af0-0b7e-4a0c-8d55-3c1d3ad0b8a1 --reason "checked with the customer"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", metavar="ID", help="the request (see manage.py list_purge_requests)")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        done = services.approve_purge(request_id=options["request"], reason=options["reason"], **self.caller)
        return show.outcome(done)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        show.print_acted(document, out, remark=f"Its purge: manage.py show_operation {document['operation']['id']}")
