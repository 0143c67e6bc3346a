"""`manage.py list_backup_storages`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import Storage
from backups.services import storages
from tenants.exceptions import ControlPlaneError
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "List the places for backups. With --test each is tried now: something is written, read back, listed and "
        "removed, and a lock tried where there is one; what does not work is said, and the exit code is not 0. What "
        "was found in one and is in no row here (another control plane's, a lost registry's) is counted, named with "
        "--json, and never deleted."
    )
    examples = """
  manage.py list_backup_storages
  manage.py list_backup_storages eu --test
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
        parser.add_argument("--test", action="store_true", help="try them now")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = [storages.get_storage(name) for name in options["names"]] or list(Storage.objects.all())
        for row in rows if options["test"] else ():
            try:
                storages.check_storage(storage=row, **self.caller)
            except ControlPlaneError as error:
                self.failure = error
            row.refresh_from_db()
        return {"storages": [represent.storage(row) for row in rows]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["name", "place", "state", "default", "lock", "checked", "unknown", "error"],
            [
                [row["name"], row["place"], row["state"], row["is_default"],
                 f"{row['lock_mode']} {row['lock_days']} d" if row["lock_days"] else "–", row["checked_at"],
                 row["unknown_count"] or "–", row["last_error"]]
                for row in document["storages"]
            ],
        )  # fmt: skip
