"""`manage.py verify_backups`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.engine.errors import Damaged
from backups.management import represent
from backups.models import Backup
from backups.services import verify
from tenants.exceptions import ControlPlaneError, InvalidInput
from tenants.management.lookup import find_tenant
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Read backups from their first to their last byte and prove that they are what was written: signatures, "
        "hashes, and (unless --shallow) decryption and decompression of everything. A copy that is not is marked as "
        "damaged, and the exit code is not 0. Name backups, or a tenant to verify all of its."
    )
    examples = """
  manage.py verify_backups 6f0c1c1e-… --here
  manage.py verify_backups --tenant shop --shallow --wait
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backups", nargs="*", metavar="ID", help="the backups")
        parser.add_argument("--tenant", metavar="SLUG|ID", help="all of this tenant's")
        parser.add_argument("--shallow", action="store_true", help="compare stored bytes with their hashes only")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        chosen = [represent.find_backup(text) for text in options["backups"]]
        if options["tenant"]:
            tenant = find_tenant(options["tenant"])
            chosen += list(Backup.objects.filter(origin_id=tenant.pk, state=Backup.State.SUCCEEDED))
        if not chosen:
            raise InvalidInput("Name a backup that is there, or a tenant that has one.", code="usage")
        begun = [verify.verify_backup(backup=row, deep=not options["shallow"], **self.caller) for row in chosen]
        if self.waits(options):
            for operation in begun:
                self._finish(operation, **options)
        rows = Backup.objects.prefetch_related("copies__storage").in_bulk([row.pk for row in chosen])
        found = [represent.backup(rows[row.pk]) for row in chosen]
        if self.waits(options) and (broken := [row for row in found if _damage(row)]):
            self.failure = Damaged(broken[0]["id"], "; ".join(_damage(broken[0])))
        return {"backups": found, "operations": [str(operation.pk) for operation in begun]}

    def _finish(self, operation: Any, **options: Any) -> None:
        try:
            self.finish(operation, here=options["here"], timeout=options["timeout"])
        except ControlPlaneError as error:  # the others are verified all the same
            self.failure = error

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["id", "tenant", "of", "verified", "found"],
            [
                [row["id"], row["tenant"]["slug"], row["snapshot_at"], row["verified_at"],
                 "; ".join(_damage(row)) or "nothing wrong"]
                for row in document["backups"]
            ],
        )  # fmt: skip
        if not self.waits(options):
            out.line("Workers verify them: manage.py list_operations --kind backup.verify", style="dim")


def _damage(row: dict[str, Any]) -> list[str]:
    return [f"{copy['storage']}: {copy['error']}" for copy in row["copies"] if copy["state"] == "damaged"]
