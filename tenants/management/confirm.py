"""What cannot be taken back is confirmed by typing the name of what it is done to."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand


class DestructiveCommand(ControlPlaneCommand):
    """Asks for a typed confirmation and a reason, on the command line or, where a person sits, one by one."""

    def confirmation_arguments(self, parser: CommandParser) -> None:
        """`--confirm` and `--reason`."""
        parser.add_argument(
            "--confirm", metavar="SLUG", help="the tenant's slug, typed again (asked for on a terminal)"
        )
        parser.add_argument("--reason", help="why; kept in the audit log (asked for on a terminal)")

    def confirmed(self, slug: str, consequence: str, options: dict[str, Any]) -> str:
        """Return the reason once `slug` has been typed again. Raises InvalidInput otherwise."""
        typed = options["confirm"]
        if typed is None:
            typed = self._ask(f"{consequence}\nType its slug ({slug}) to go on: ", "--confirm", slug)
        if typed != slug:
            raise InvalidInput(
                "The confirmation is not this tenant's slug; nothing was done.",
                field="confirm",
                hint=f"Say --confirm {slug}.",
            )
        reason = options["reason"]
        if reason is None:
            reason = self._ask("Reason: ", "--reason", "TEXT")
        if not reason.strip():
            raise InvalidInput("A reason is needed; nothing was done.", field="reason", hint="Say --reason TEXT.")
        return str(reason)

    def _ask(self, prompt: str, option: str, value: str) -> str:
        if not sys.stdin.isatty():
            raise InvalidInput(
                f"{option} is missing, and nobody is here to be asked; nothing was done.",
                field=option.strip("-"),
                hint=f"Say {option} {value}.",
            )
        # To stderr: stdout is for the result.
        self.stderr.write(prompt, style_func=str, ending="")
        self.stderr.flush()
        return sys.stdin.readline().rstrip("\n")
