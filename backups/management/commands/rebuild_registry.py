"""`manage.py rebuild_registry`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.services import rebuilding
from backups.services.storages import get_storage
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Make the registry again from the manifests in a storage, when its database is lost: tenants, domains, logins "
        "with the passwords they had at their newest backup, plans and templates that are not there, and the backups "
        "themselves. Register the clusters before, under the names they had, and set BACKUP_ENCRYPTION_KEYS. What is "
        "there stays as it is, so this can be repeated. See docs/runbooks/registry-lost.md."
    )
    examples = """
  manage.py rebuild_registry disk --dry-run
  manage.py rebuild_registry disk --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("storage", metavar="STORAGE", help="where the backups are (see add_backup_storage)")
        parser.add_argument("--dry-run", action="store_true", help="tell what would be made; make nothing")

    def run(self, **options: Any) -> dict[str, Any]:
        done = rebuilding.rebuild_registry(
            storage=get_storage(options["storage"]), dry_run=options["dry_run"], **self.caller
        )
        return {"dry_run": options["dry_run"], **done.as_dict()}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        title = "What would be made" if document["dry_run"] else "Made"
        made = {name: ", ".join(document[name]) or "none" for name in ("plans", "templates", "tenants")}
        out.facts(title, {**made, "backups": document["backups"]})
        for problem in document["problems"]:
            out.line(f"Not done: {problem}")
