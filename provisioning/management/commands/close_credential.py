"""`manage.py close_credential`."""

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
        "Take an additional login of a tenant away before its time: nobody gets in with it any more, its sessions are "
        "ended, and its role is dropped. One that is closed already stays as it is."
    )
    examples = """
  manage.py list_credentials shop
  manage.py close_credential shop 7c0e… --reason "ticket closed"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("credential", metavar="CREDENTIAL", help="its id, as list_credentials shows it")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        closed = services.close_credential(
            tenant_id=find_tenant(options["tenant"]).pk,
            credential_id=options["credential"],
            reason=options["reason"],
            **self.caller,
        )
        return show.credential(closed)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['login']} is gone.")
