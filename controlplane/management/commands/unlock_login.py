"""`manage.py unlock_login`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from controlplane.door import lockout
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = """Let somebody try to sign in again at once, who was wrong too often.

    Locks end by themselves after LOGIN_LOCK_SECONDS; this is for who cannot wait."""
    examples = """
  manage.py unlock_login alice --reason "she called"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the name they sign in with")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        count = lockout.unlock(username=options["username"], reason=options["reason"], **self.caller)
        return {"username": options["username"], "forgotten_attempts": count}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['username']} may sign in; {document['forgotten_attempts']} failed attempts are forgotten.")
