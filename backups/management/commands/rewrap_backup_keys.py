"""`manage.py rewrap_backup_keys`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from backups.engine.errors import BackupError
from backups.services import rewrapping
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Wrap the keys of all backups by the first key of BACKUP_ENCRYPTION_KEYS, and say which keys are no longer "
        "needed. To rotate: put a new key in front of the old one, restart all processes, run this, and take the old "
        "key away once it is said to be of no use. Only manifests' headers are written; no row is read or encrypted "
        "anew. It can be run at any time and begun again after a kill. --dry-run only counts. Ends with an error while "
        "a backup cannot be moved to the new key. Copies that somebody made outside of the storages keep the old one."
    )
    examples = """
  manage.py rewrap_backup_keys --dry-run
  manage.py rewrap_backup_keys
  manage.py rewrap_backup_keys --json | jq .removable
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what is under which key; change nothing")
        parser.add_argument("--tenant", metavar="SLUG|ID", help="only this tenant's, to begin with")

    def run(self, **options: Any) -> dict[str, Any]:
        found = rewrapping.survey()
        if not options["dry_run"]:
            total = sum(count for key, count in found.under.items() if key != found.newest)
            with self.out.progress("wrapping keys", total=total) as bar:
                tenant = find_tenant(options["tenant"]) if options["tenant"] else None
                found = rewrapping.rewrap_keys(
                    tenant=tenant, tell=lambda done: bar.update(completed=done), **self.caller
                )
        if found.failed:
            backup, why = next(iter(found.failed.items()))
            self.failure = BackupError(f"{len(found.failed)} backups keep their key; {backup}: {why}")
        return {"dry_run": options["dry_run"], **asdict(found)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["key", "backups", ""],
            [
                [key, count, "newest" if key == document["newest"] else "MISSING" if key in document["missing"] else ""]
                for key, count in sorted(document["under"].items())
            ],
        )
        if not document["dry_run"]:
            out.line(f"{document['done']} moved to the key {document['newest']}.")
        names = ", ".join(document["removable"])
        out.line(f"No longer needed: {names}." if names else "No key can be taken away now.")
