"""`manage.py restore_tenant`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import Backup
from backups.pitr import services
from tenants.exceptions import InvalidInput
from tenants.management import represent as tenants_represent
from tenants.management.confirm import DestructiveCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand
from tenants.models import Operation


class Command(OperationCommand, DestructiveCommand):
    help = (
        "Bring one tenant back as it was at a moment, out of its cluster's WAL archive: a scratch instance is "
        "recovered to that moment, the tenant is read from it as a backup, and the instance is removed. The backup "
        "then takes the place of the tenant's present schema (--in-place; what it replaces is kept aside until "
        "confirm_restore, and undo_restore puts it back), or becomes a new tenant (--into-new SLUG), or is only kept "
        "(--as-backup). Nobody else on the cluster goes back, and the tenant works on meanwhile. show_archive tells "
        "which moments there are."
    )
    examples = """
  manage.py restore_tenant shop --to "2026-11-23 10:15:00+00" --as-backup --wait
  manage.py restore_tenant shop --to "2026-11-23 10:15:00+00" --into-new shop-at-ten --wait
  manage.py restore_tenant shop --to "2026-11-23 10:15:00+00" --in-place --confirm shop --reason "wrong DELETE"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--to", required=True, metavar="TIME", help="the moment, with its zone")
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--in-place", action="store_true", help="replace its present schema")
        target.add_argument("--into-new", metavar="SLUG", help="make a new tenant of it, with credentials of its own")
        target.add_argument("--as-backup", action="store_true", help="only make a backup, to be restored later")
        parser.add_argument("--no-backup", action="store_true", help="do not back up the present state before")
        self.confirmation_arguments(parser)
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        moment = _moment(options["to"])
        chosen: dict[str, Any] = {"into": "backup", "reason": options["reason"] or ""}
        if options["into_new"]:
            chosen |= {"into": "new", "slug": options["into_new"]}
        elif options["in_place"]:
            told = f"The schema of {tenant.slug} is replaced by how it was at {options['to']}."
            reason = self.confirmed(tenant.slug, told, options)
            chosen |= {"into": "same", "confirm_slug": tenant.slug, "reason": reason}
            chosen |= {"backup_before": not options["no_backup"]}
        begun = services.recover_tenant(tenant_id=tenant.pk, to=moment, **chosen, **self.caller)
        operation, after = begun.operation, None
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
            after = self._restored(operation, options)
        backup = Backup.objects.prefetch_related("copies__storage").get(pk=begun.backup.pk)
        return {
            "backup": represent.backup(backup), "operation": tenants_represent.operation(operation),
            "restore": tenants_represent.operation(after) if after else None,
        }  # fmt: skip

    def _restored(self, operation: Operation, options: dict[str, Any]) -> Operation | None:
        """The restore that follows it, at its end too."""
        if refused := operation.result.get("restore_refused"):
            self.failure = InvalidInput(
                f"The backup is there, but its restore was refused: {refused['message']}", code=refused["code"],
                hint=f"Restore it with restore_backup {operation.result['backup']}.",
            )  # fmt: skip
        if "restore" not in operation.result:
            return None
        following = Operation.objects.get(pk=operation.result["restore"])
        return self.finish(following, here=options["here"], timeout=options["timeout"])

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        backup, operation, after = document["backup"], document["operation"], document["restore"]
        if backup["state"] == Backup.State.RUNNING:
            out.line(f"The recovery is {operation['state']}: manage.py show_operation {operation['id']}")
            return
        out.facts(
            f"{backup['tenant']['slug']} as it was at {backup['snapshot_at']}",
            {"backup": backup["id"], "rows": backup["rows"], "size": represent.size(backup["raw_bytes"])},
        )
        if after and after["tenant"] and options["in_place"]:
            out.line("It is in place; what it replaced is aside: manage.py confirm_restore, or undo_restore.")
        elif after:
            out.line(f"The new tenant's credentials: manage.py collect_credentials {after['id']}")


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"'{text}' is no time.", field="to", hint="As in 2026-11-23 10:15:00+00.") from error
