"""`manage.py issue_credential`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Give a tenant an additional login for somebody and for a while: read-only for support or analytics, or with "
        "the rights of the tenant's own logins. It gets at most 5 connections. When its time is over, or the tenant is "
        "suspended or deleted, its sessions are ended and it is dropped. Its password is shown this once."
    )
    examples = """
  manage.py issue_credential shop --owner "Ada (support)" --reason "ticket 4711" --minutes 120
  manage.py issue_credential shop --read-write --owner importer --reason "migration of orders" --show-dsn-only
  manage.py list_credentials shop
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--owner", required=True, help="who uses it")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")
        parser.add_argument("--minutes", type=natural, default=1440, help="how long, at most 129600 (default: a day)")
        parser.add_argument("--read-write", action="store_true", help="as the tenant's own logins (default: read-only)")
        show.dsn_argument(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        issued = services.issue_credential(
            tenant_id=find_tenant(options["tenant"]).pk,
            access="read_write" if options["read_write"] else "read_only",
            minutes=options["minutes"],
            owner=options["owner"],
            reason=options["reason"],
            **self.caller,
        )
        return {**show.credential(issued.credential), "connection": issued.connection.as_dict()}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        title = f"{document['access']} login for {document['owner']}"
        show.print_connection(title, document["connection"], out, dsn_only=options["show_dsn_only"])
        if not options["show_dsn_only"]:
            out.line(f"Works until {document['expires_at']:%Y-%m-%d %H:%M} UTC. Id: {document['id']}", style="dim")
