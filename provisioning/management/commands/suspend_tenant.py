"""`manage.py suspend_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Shut a tenant out: its logins are closed and its open sessions ended, and both are verified. Its data, "
        "roles and credentials stay; resume_tenant lets it in again."
    )
    examples = """
  manage.py suspend_tenant shop --reason "invoice 4711 unpaid"
  manage.py suspend_tenant 6f0c… --json | jq .state
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        return show.outcome(services.suspend_tenant(tenant_id=tenant.pk, reason=options["reason"], **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        show.print_acted(document, out)
