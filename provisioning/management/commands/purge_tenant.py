"""`manage.py purge_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from provisioning.services import Outcome
from tenants.management.confirm import DestructiveCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand
from tenants.models import Operation


class Command(DestructiveCommand, OperationCommand):
    help = (
        "Destroy a tenant for good: its schema with all data, then its roles. Nothing brings it back.\n\n"
        "A deleted tenant can be purged once its grace period has ended (which happens by itself, too); --force "
        "purges it before that, and also one that is active or suspended. A worker does the work. Its slug must be "
        "typed again (--confirm, or at the prompt), and a reason given."
    )
    examples = """
  manage.py purge_tenant shop --confirm shop --reason "contract ended" --wait
  manage.py purge_tenant shop --confirm shop --reason "erasure request 12" --force --here
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        self.confirmation_arguments(parser)
        parser.add_argument("--force", action="store_true", help="now, whatever its state and its grace period")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        reason = self.confirmed(tenant.slug, f"This destroys {tenant.slug} ({tenant.name}) for good.", options)
        begun = services.purge_tenant(
            tenant_id=tenant.pk, confirm_slug=tenant.slug, reason=reason, force=options["force"], **self.caller
        )
        if isinstance(begun, services.AwaitingApproval):
            return {**show.outcome(begun), "purge_request": str(begun.request.pk)}
        operation = begun.operation
        if operation is not None and self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        return show.outcome(Outcome(services.get_tenant(tenant.pk), operation))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if request := document.get("purge_request"):
            out.line(f"The purge waits for somebody else's approval: manage.py approve_purge {request}")
            return
        operation = document["operation"] or {}
        going = operation.get("state") in (Operation.State.PENDING, Operation.State.RUNNING)
        remark = f"Its purge is {operation.get('state')}: manage.py show_operation {operation.get('id')}"
        show.print_acted(document, out, remark=remark if going else "")
