"""`manage.py list_credentials`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output, ago


class Command(ControlPlaneCommand):
    help = (
        "List a tenant's logins: its own two, of which rotation opens one before it closes the other, with when the "
        "old one was last seen in use, and the additional ones for somebody and for a while. Never a password."
    )
    examples = """
  manage.py list_credentials shop
  manage.py list_credentials shop --all --json | jq '.additional[] | select(.closed_at == null)'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--all", action="store_true", help="also additional ones that are closed")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        additional = tenant.credentials.all()
        if not options["all"]:
            additional = additional.filter(closed_at__isnull=True)
        return {
            "tenant": tenant.slug,
            "logins": [show.login(row) for row in tenant.roles.all()],
            "additional": [show.credential(row) for row in additional],
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["login", "state", "issued", "collected", "open until at least", "closed by", "last seen"],
            [
                [row["name"], row["state"], row["issued_at"], row["collected_at"], row["retire_at"], row["close_by"],
                 ago(row["last_seen_at"])]
                for row in document["logins"]
            ],
        )  # fmt: skip
        out.table(
            ["additional login", "access", "owner", "reason", "expires", "closed", "last seen", "id"],
            [
                [row["login"], row["access"], row["owner"], row["reason"], row["expires_at"], row["closed_at"],
                 ago(row["last_seen_at"]), row["id"]]
                for row in document["additional"]
            ],
        )  # fmt: skip
