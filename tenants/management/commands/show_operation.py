"""`manage.py show_operation`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_operation
from tenants.management.output import Output


def show_operation(document: dict[str, Any], out: Output) -> None:
    """Print an operation and its steps."""
    out.facts(
        f"{document['kind']} {document['id']}",
        {
            "state": document["state"],
            "progress": f"{document['progress']} %",
            "tenant": (document["tenant"] or {}).get("slug"),
            "cluster": document["cluster"],
            "by": f"{document['actor']['label']} ({document['channel']})",
            "reason": document["reason"],
            "created": document["created_at"],
            "finished": document["finished_at"],
            "seconds": document["seconds"],
            "attempt": document["attempt"],
            "worker": document["worker"],
            "retry of": document["retry_of"],
            "result": document["result"],
            "error": (document["error"] or {}).get("message"),
        },
    )
    if document.get("steps"):
        out.table(
            ["step", "state", "attempt", "seconds", "error"],
            [[s["name"], s["state"], s["attempt"], s["seconds"], s["error"]] for s in document["steps"]],
        )


class Command(ControlPlaneCommand):
    help = "Show one operation: its state, its steps with their times, who asked for it, and its error."
    examples = """
  manage.py show_operation 0b9d…
  manage.py show_operation 0b9d… --json | jq .state
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", metavar="ID", help="the operation's id")

    def run(self, **options: Any) -> dict[str, Any]:
        return represent.operation(find_operation(options["operation"]), steps=True)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        show_operation(document, out)
