"""`manage.py open_migrator`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Let a tenant's migrator in for a while: a login that acts as the owner of the tenant's schema, for changing "
        "its tables. It is made now, taken away when its time is over, and its password is shown this once. The guard "
        "gives new tables row-level security and refuses what would open the schema to others, so the cluster must be "
        "at the level lockdown or sealed. Opening and closing are audited."
    )
    examples = """
  manage.py open_migrator acme --minutes 20 --reason "release 4.2 adds invoices"
  psql "$(manage.py open_migrator acme --reason ticket-812 --json | jq -r .connection.dsn)" -f upgrade.sql
  manage.py close_migrator acme
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="its slug or id")
        parser.add_argument("--minutes", type=int, default=30, help="how long, 1 to 1440 (default: 30)")
        parser.add_argument("--reason", required=True, help="why; goes into the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        opened = services.open_migrator(
            tenant_id=tenant.pk, minutes=options["minutes"], reason=options["reason"], **self.caller
        )
        return {
            "tenant": tenant.slug,
            "login": opened.window.login,
            "expires_at": opened.window.expires_at,
            "connection": opened.connection.as_dict(),
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(document["connection"]["dsn"])
        out.remark(f"Works until {document['expires_at']:%Y-%m-%d %H:%M} UTC. The password is shown this once.")
