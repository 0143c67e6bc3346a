"""`manage.py checkpoint_audit_log`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.exceptions import ControlPlaneError
from tenants.ledger import checkpoints, sealer
from tenants.ledger.keys import printable, signing_key
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output
from tenants.models import AuditCheckpoint, AuditSink


class Command(ControlPlaneCommand):
    help = (
        "Sign the end of the audit log's chain now and write it to the places of AUDIT_CHECKPOINT_URLS; the sealer "
        "does so each minute. Also prints the public key, which belongs wherever somebody verifies. After the registry "
        "was restored from a backup, the log no longer has what was signed last: --restart REASON goes on from there "
        "and keeps the reason in the log and in the checkpoint for good. Ends with 3 when the log contradicts its last "
        "checkpoint."
    )
    examples = """
  manage.py checkpoint_audit_log --json | jq -r .public_key
  manage.py checkpoint_audit_log --restart "registry restored to 2026-11-20 09:00 after disk failure"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--restart", metavar="REASON", help="the log was set back on purpose; say why")

    def run(self, **options: Any) -> dict[str, Any]:
        key = signing_key()
        if options["restart"] is not None:
            taken: Any = checkpoints.restart_checkpoints(reason=options["restart"], **self.caller)
            undelivered = checkpoints.deliver()
        else:
            sealer.seal_pending()
            taken, undelivered = checkpoints.checkpoint()
        if undelivered:
            self.failure = ControlPlaneError("Checkpoints could not be delivered.", code="undelivered", status=500)
        last = AuditCheckpoint.objects.order_by("-number").first()
        return {
            "new": taken is not None,
            "number": last.number if last else None,
            "seq": last.seq if last else None,
            "public_key": printable(key) if key else None,
            "places": list(AuditSink.objects.values("url", "delivered", "last_error")),
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts("checkpoint", {name: document[name] for name in ("number", "seq", "new", "public_key")})
        out.table(
            ["place", "has", "error"], [[row["url"], row["delivered"], row["last_error"]] for row in document["places"]]
        )
