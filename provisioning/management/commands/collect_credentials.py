"""`manage.py collect_credentials`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.credentials import collect_credentials
from provisioning.management import show
from provisioning.services import Outcome
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_operation
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Print the credentials that a worker has made: of a tenant that it provisioned, or of a rotation that the plan "
        "asked for. This works once for each operation; after that reveal_credentials shows them for a reason, and "
        "rotate_credentials gives new ones. Each look is audited."
    )
    examples = """
  manage.py create_tenant shop --no-wait      # prints the operation's id
  manage.py collect_credentials 0b9d…
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", metavar="OPERATION", help="the id of the operation that made them")
        show.dsn_argument(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        operation = find_operation(options["operation"])
        connection = collect_credentials(operation_id=operation.pk, **self.caller)
        operation.refresh_from_db()
        tenant = services.get_tenant(operation.tenant_id)
        return show.with_connection(Outcome(tenant, operation), connection)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        title = f"Credentials of {document['slug']}"
        show.print_connection(title, document["connection"], out, dsn_only=options["show_dsn_only"])
