"""`manage.py show_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning.management import show
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output, ago
from tenants.models import Tenant

OPERATIONS = 10


class Command(ControlPlaneCommand):
    help = "Show one tenant: its state, where it lives, its limits, its logins (never a password), its last operations."
    examples = """
  manage.py show_tenant shop
  manage.py show_tenant shop --json | jq .connection.host
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        last = tenant.operations.select_related("tenant", "cluster")[:OPERATIONS]
        return {
            **represent.tenant(tenant),
            "effective_limits": tenant.effective_limits(),
            "domains": [domain.domain for domain in tenant.domains.all()],
            "connection": self._connection(tenant),
            "logins": [show.login(row) for row in tenant.roles.all()],
            "operations": [represent.operation(row) for row in last],
        }

    def _connection(self, tenant: Tenant) -> dict[str, Any] | None:
        login = tenant.roles.filter(state="active").first()
        if login is None:
            return None
        host, port = tenant.cluster.public_address()
        return {"host": host, "port": port, "dbname": tenant.cluster.dsn().dbname, "user": login.name}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        connection = document["connection"] or {}
        out.facts(
            f"{document['name']} ({document['slug']})",
            {
                "state": document["state"],
                "because": document["state_reason"],
                "id": document["id"],
                "schema": document["schema_name"],
                "template": f"{document['template']} v{document['template_version']}",
                "cluster": document["cluster"],
                "plan": document["plan"],
                "isolation tier": document["isolation_tier"],
                "limits": document["effective_limits"],
                "own limits": document["limits"],
                "labels": document["labels"],
                "domains": document["domains"],
                "connects to": connection and "{user}@{host}:{port}/{dbname}".format(**connection),
                "version": document["version"],
                "created": document["created_at"],
                "deleted": document["deleted_at"],
                "purged after": document["purge_after"],
            },
        )
        out.table(
            ["login", "state", "issued", "open until at least", "closed by", "last seen"],
            [
                [
                    row["name"],
                    row["state"],
                    row["issued_at"],
                    row["retire_at"],
                    row["close_by"],
                    ago(row["last_seen_at"]),
                ]
                for row in document["logins"]
            ],
        )
        out.table(
            ["operation", "state", "seconds", "age", "by", "id"],
            [
                [row["kind"], row["state"], row["seconds"], ago(row["created_at"]), row["actor"]["label"], row["id"]]
                for row in document["operations"]
            ],
        )
