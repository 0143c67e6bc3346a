"""`manage.py end_sessions`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser

from controlplane.door import sessions
from tenants.exceptions import NotFound
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = "Sign somebody out everywhere: all their sessions of the admin end with the request that is under way."
    examples = """
  manage.py end_sessions alice --reason "laptop lost"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the name they sign in with")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        user = get_user_model()._default_manager.filter(username=options["username"]).first()
        if user is None:
            raise NotFound(f"There is no user {options['username']}.")
        ended = sessions.end_all(user=user, reason=options["reason"], **self.caller)
        return {"username": options["username"], "ended_sessions": ended}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['ended_sessions']} sessions of {document['username']} were ended.")
