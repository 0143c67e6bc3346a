"""`manage.py verify_audit_log`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants.ledger import verification
from tenants.management.base import ControlPlaneCommand
from tenants.management.errors import TamperingFound
from tenants.management.lookup import natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Verify the audit log outside the database: read every event and seal, compute every hash again, and compare "
        "with the signed checkpoints, here and at the places of AUDIT_CHECKPOINT_URLS. Says the first event that is "
        "not what was written, and why. Ends with 8 when the log was tampered with."
        "\n\n"
        "Who could have taken the key from this machine could also have signed a forged log: then bring the "
        "checkpoints (--checkpoints) and the public key (--public-key) from elsewhere."
    )
    examples = """
  manage.py verify_audit_log
  manage.py verify_audit_log --from-checkpoint 1440
  manage.py verify_audit_log --checkpoints /mnt/vault/checkpoints.jsonl --public-key="$KEY" --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-checkpoint", type=natural, metavar="NUMBER", help="begin there, not at the start")
        parser.add_argument("--new", action="store_true", help="only what came since the last good verification")
        parser.add_argument(
            "--checkpoints", type=Path, action="append", default=[], metavar="FILE",
            help="a further file of checkpoints, one a line (repeatable)",
        )  # fmt: skip
        parser.add_argument(
            "--public-key", action="append", default=[], metavar="KEY",
            help="believe signatures of this key alone (base64; repeatable), not of those in the settings",
        )  # fmt: skip

    def run(self, **options: Any) -> dict[str, Any]:
        with self.out.progress("verifying", total=1) as bar:
            shown = time.monotonic()

            def tell(done: int, total: int) -> None:
                nonlocal shown
                if time.monotonic() - shown > 0.2:
                    shown = time.monotonic()
                    bar.update(completed=done / max(total, 1))

            result, _ = verification.verify_and_note(
                full=not options["new"],
                from_checkpoint=options["from_checkpoint"],
                checkpoint_files=options["checkpoints"],
                trusted_keys=options["public_key"],
                tell=tell,
                **self.caller,
            )
        if first := result.first_bad:
            self.failure = TamperingFound(f"The audit log does not hold: {first.message}")
        return result.as_dict()

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(
            "the log holds" if document["ok"] else "THE LOG DOES NOT HOLD",
            style="green" if document["ok"] else "bold red",
        )
        out.facts("verified", {
            "seals": f"{document['from_seq'] + 1} to {document['to_seq']}", "events": document["events"],
            "checkpoints": document["checkpoints"], "seconds": document["seconds"],
            "events a second": document["events_per_second"],
        })  # fmt: skip
        if document["findings"]:
            out.table(
                ["seal", "event", "what", "why"],
                [[row.get("seq"), row.get("event"), row["code"], row["message"]] for row in document["findings"]],
            )
        for notice in document["notices"]:
            out.line(f"note: {notice}")
