"""`manage.py undo_restore`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.services import kept
from tenants.management import represent as tenants_represent
from tenants.management.confirm import DestructiveCommand
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand, DestructiveCommand):
    help = (
        "Put back what a restore in place has replaced: the same exchange, backwards. What the tenant wrote since the "
        "restore is set aside in turn, and dropped at the same deadline."
    )
    examples = """
  manage.py undo_restore 12 --confirm shop --reason "it was the wrong backup" --wait
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kept", metavar="NUMBER", help="what was set aside (restore_backup and show_tenant say it)")
        self.confirmation_arguments(parser)
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        row = kept.get_kept(options["kept"])
        slug = row.tenant.slug
        reason = self.confirmed(slug, f"The restore of {slug} is undone.", options)
        operation = kept.undo_restore(kept=row, confirm_slug=slug, reason=reason, **self.caller)
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        return {"kept": row.pk, "tenant": slug, "operation": tenants_represent.operation(operation)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        operation = document["operation"]
        if operation["state"] == "succeeded":
            out.line(f"{document['tenant']} has what it had before the restore.")
        else:
            out.line(f"The undoing is {operation['state']}: manage.py show_operation {operation['id']}")
