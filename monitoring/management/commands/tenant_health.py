"""`manage.py tenant_health`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.health import live_health, tenant_health
from monitoring.health_views import health_document
from tenants.health import Status
from tenants.management.base import ControlPlaneCommand
from tenants.management.errors import NotWell
from tenants.management.lookup import find_tenant
from tenants.management.output import Output, ago

STYLES = {"ok": "green", "warning": "yellow", "critical": "bold red", "unknown": "dim"}


class Command(ControlPlaneCommand):
    help = (
        "Show how a tenant is: each check with its value, its limit, when that was so, and what to do. From samples, "
        "or looked at now with --live. The exit code tells the worst of them."
    )
    examples = """
  manage.py tenant_health acme
  manage.py tenant_health acme --live --json | jq .status
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="TENANT", help="slug or id")
        parser.add_argument("--live", action="store_true", help="look now, on the tenant's cluster")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        health = live_health(tenant=tenant) if options["live"] else tenant_health(tenant=tenant)
        if health.status is not Status.OK:
            self.failure = NotWell(f"The health of {tenant.slug} is {health.status}.", health=str(health.status))
        return health_document(health)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['slug']}: {document['status']}", style=STYLES[document["status"]])
        out.table(
            ["check", "status", "value", "limit", "unit", "as of", "why", "what to do"],
            [
                [row["name"], row["status"], row["value"], row["limit"], row["unit"], ago(row["taken_at"]),
                 row["reason"], row["next_step"]]
                for row in document["checks"]
            ],
        )  # fmt: skip
