"""`manage.py confirm_restore`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.services import kept
from tenants.management import represent as tenants_represent
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Say that a restore was right: the schema that it replaced, which is kept aside, is dropped. Without this it "
        "is dropped when its time is over. After that the restore cannot be undone."
    )
    examples = """
  manage.py confirm_restore 12 --wait
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kept", metavar="NUMBER", help="what was set aside (restore_backup and show_tenant say it)")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        row = kept.get_kept(options["kept"])
        operation = kept.confirm_restore(kept=row, reason=options["reason"], **self.caller)
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        return {"kept": row.pk, "schema": row.schema_name, "operation": tenants_represent.operation(operation)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        operation = document["operation"]
        done = operation["state"] == "succeeded"
        out.line(f"{document['schema']} is {'dropped' if done else 'being dropped: operation ' + operation['id']}.")
