"""`manage.py reset_second_factor`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser

from controlplane.door import factors, sessions
from tenants.exceptions import NotFound
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = """Take away somebody's second factor, because the device is lost.

    Their sessions end. The next sign-in needs the password only; where a policy asks for a second factor, it begins
    with setting up a new one. Be sure whom you do this for."""
    examples = """
  manage.py reset_second_factor alice --reason "phone stolen, confirmed in person"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the name they sign in with")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        user = get_user_model()._default_manager.filter(username=options["username"]).first()
        if user is None:
            raise NotFound(f"There is no user {options['username']}.")
        factors.remove(user=user, reason=options["reason"], **self.caller)
        ended = sessions.end_all(user=user, reason="The second factor was reset.", **self.caller)
        return {"username": options["username"], "ended_sessions": ended}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['username']} has no second factor now; {document['ended_sessions']} sessions were ended.")
