"""`manage.py protect_audit_log`."""

from __future__ import annotations

from typing import Any

from tenants.exceptions import Conflict
from tenants.ledger import protection
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Give the tables of the audit log to a role that nobody can be, so that the control plane's own login can add "
        "and read, but neither change rows nor take the triggers away. Needs the functions of tenants/prepare.sql "
        "installed by a superuser. Before a migration that alters these tables a superuser calls "
        "SELECT cp.release_audit_log('LOGIN'), and this command is run again afterwards. Ends with 3 where no "
        "superuser has prepared it."
    )
    examples = """
  manage.py protect_audit_log
"""

    def run(self, **options: Any) -> dict[str, Any]:
        if not protection.protect():
            raise Conflict(
                "The audit log cannot be protected here.",
                hint="A superuser has to run tenants/prepare.sql in the registry's database first.",
            )
        return {"protected": True}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line("The audit log's tables belong to cp_audit; this login can add and read.")
