"""`manage.py rotate_encryption_key`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tenants import reencryption, secrets
from tenants.exceptions import SecretUnreadable
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Write everything that is stored encrypted (passwords of logins, second factors, kept answers) again under the "
        "first key of FIELD_ENCRYPTION_KEYS, then read all of it and say which keys are no longer needed. To rotate: "
        "put a new key in front of the old one, restart all processes, run this, and take the old key away once it is "
        "said to be of no use. It can be run at any time and begun again after a kill: what is under the first key is "
        "left alone. --dry-run only reads and counts. Ends with an error while something cannot be read with any key."
    )
    examples = """
  manage.py rotate_encryption_key --dry-run
  manage.py rotate_encryption_key
  manage.py rotate_encryption_key --json | jq .removable_keys
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what is under which key; change nothing")
        parser.add_argument(
            "--batch", type=natural, default=reencryption.BATCH, metavar="N", help="texts per transaction (default 500)"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        before = reencryption.survey()
        rewritten = 0
        found = before
        if not options["dry_run"]:
            total = sum(column.outdated for column in before)
            with self.out.progress("writing again", total=total) as bar:

                def tell(_: str, done: int) -> None:
                    nonlocal rewritten
                    rewritten += done
                    bar.update(completed=rewritten)

                found = reencryption.rotate_encryption_key(batch=options["batch"], tell=tell, **self.caller)
        if any(column.unreadable for column in found):
            self.failure = SecretUnreadable(hint="Add the key it was written with; see the rows that are named.")
        return self._document(found, rewritten, dry_run=options["dry_run"])

    def _document(self, found: list[reencryption.Column], rewritten: int, *, dry_run: bool) -> dict[str, Any]:
        keys = [secrets.key_name(key) for key in settings.FIELD_ENCRYPTION_KEYS]
        return {
            "dry_run": dry_run,
            "newest_key": keys[0],
            "rewritten": rewritten,
            "removable_keys": reencryption.removable_keys(found),
            "columns": [
                {
                    "column": column.label,
                    "under": {keys[number]: count for number, count in sorted(column.under.items())},
                    "outdated": column.outdated,
                    "unreadable": column.unreadable,
                }
                for column in found
            ],
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        newest = document["newest_key"]
        rows = [
            [row["column"], row["under"].get(newest, 0), row["outdated"], row["unreadable"]]
            for row in document["columns"]
        ]
        out.table(["column", "newest key", "older keys", "unreadable rows"], rows)
        if not document["dry_run"]:
            out.line(f"{document['rewritten']} written again under the key {newest}.")
        names = ", ".join(document["removable_keys"])
        out.line(f"No longer needed: {names}." if names else "No key can be taken away now.")
