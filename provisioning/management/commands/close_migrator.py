"""`manage.py close_migrator`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Take a tenant's migrator away before its time is over: its sessions are ended, and the protection of the "
        "schema is looked at again. What is wrong with it is said and kept on the window."
    )
    examples = """
  manage.py close_migrator acme
  manage.py close_migrator acme --json | jq .findings
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="its slug or id")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        window = services.close_migrator(tenant_id=tenant.pk, **self.caller)
        return {
            "tenant": tenant.slug,
            "closed": window is not None,
            "closed_at": window.closed_at if window else None,
            "findings": window.findings if window else "",
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        verb = "is closed" if document["closed"] else "was not open"
        out.line(f"The migrator of {document['tenant']} {verb}.")
        if document["findings"]:
            out.line(f"Its schema is not as it should be: {document['findings']}", style="yellow")
