"""`manage.py resume_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = "Let a suspended tenant in again, with the credentials it had."
    examples = """
  manage.py resume_tenant shop --reason "paid"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        return show.outcome(services.resume_tenant(tenant_id=tenant.pk, reason=options["reason"], **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        show.print_acted(document, out)
