"""`manage.py reveal_credentials`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.credentials import reveal_credentials
from provisioning.management import show
from provisioning.services import Outcome
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Show the present credentials of a tenant again, as they are stored. Each look is audited with its reason; "
        "where nobody needs the old password any more, rotate_credentials is the better way."
    )
    examples = """
  manage.py reveal_credentials shop --reason "ticket 4711: connection test"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")
        show.dsn_argument(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = services.get_tenant(find_tenant(options["tenant"]).pk)
        connection = reveal_credentials(tenant_id=tenant.pk, reason=options["reason"], **self.caller)
        return show.with_connection(Outcome(tenant, None), connection)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        title = f"Credentials of {document['slug']}"
        show.print_connection(title, document["connection"], out, dsn_only=options["show_dsn_only"], once="")
