"""`manage.py delete_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.confirm import DestructiveCommand
from tenants.management.lookup import find_tenant, natural
from tenants.management.output import Output, cell


class Command(DestructiveCommand):
    help = (
        "Delete a tenant: it is shut out at once, and its grace period begins (the plan's, usually 7 days). Until "
        "that ends, undelete_tenant brings it back with all its data and the same credentials; then it is purged "
        "for good. A tenant whose provisioning failed has nothing to keep and is gone at once.\n\n"
        "Its slug must be typed again (--confirm, or at the prompt), and a reason given."
    )
    examples = """
  manage.py delete_tenant shop
  manage.py delete_tenant shop --confirm shop --reason "contract ended" --grace-days 30
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        self.confirmation_arguments(parser)
        parser.add_argument("--grace-days", type=natural, metavar="DAYS", help="0 to 365 (default: the plan's)")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        reason = self.confirmed(tenant.slug, f"This shuts {tenant.slug} ({tenant.name}) out.", options)
        done = services.delete_tenant(
            tenant_id=tenant.pk, reason=reason, grace_days=options["grace_days"], **self.caller
        )
        return show.outcome(done)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        until = document["purge_after"]
        remark = f"It can be brought back until {cell(until)}: manage.py undelete_tenant {document['slug']}"
        show.print_acted(document, out, remark=remark if until else "")
