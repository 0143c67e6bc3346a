"""`manage.py reject_purge`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = """Turn a purge request down; the tenant stays as it is.

    Whoever asked for the purge may withdraw it this way, too."""
    examples = """
  manage.py reject_purge 2b9f3af0-0b7e-4a0c-8d55-3c1d3ad0b8a1 --reason "checked with the customer"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", metavar="ID", help="the request (see manage.py list_purge_requests)")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        done = services.reject_purge(request_id=options["request"], reason=options["reason"], **self.caller)
        return {"id": str(done.pk), "tenant": done.tenant.slug, "state": done.state}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"The purge of {document['tenant']} is {document['state']}.")
