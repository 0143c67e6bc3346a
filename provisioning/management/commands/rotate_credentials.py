"""`manage.py rotate_credentials`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Give a tenant a new login and password. The old login goes on working, so that applications can be changed "
        "over without an outage: for the plan's overlap, and then until it is no longer used, at the plan's deadline "
        "in any case; with --overlap for exactly so long. Then it is closed and its sessions are ended. While an "
        "overlap lasts, only --overlap 0 rotates again: it closes the older login at once. --emergency first shuts "
        "the present login out, sessions included, whatever else is going on."
    )
    examples = """
  manage.py rotate_credentials shop --reason "quarterly"
  manage.py rotate_credentials shop --emergency --reason "password leaked"
  manage.py rotate_credentials shop --show-dsn-only > dsn
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument(
            "--overlap", type=natural, metavar="MINUTES", help="how long the old login goes on (default: the plan's)"
        )
        parser.add_argument("--emergency", action="store_true", help="the old login is dead at once; needs --reason")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")
        show.dsn_argument(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        rotated = services.rotate_credentials(
            tenant_id=find_tenant(options["tenant"]).pk,
            overlap_minutes=options["overlap"],
            emergency=options["emergency"],
            reason=options["reason"],
            **self.caller,
        )
        return show.with_connection(rotated, rotated.connection)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        only = options["show_dsn_only"]
        show.print_connection(f"New credentials of {document['slug']}", document["connection"], out, dsn_only=only)
        result = document["operation"]["result"]
        if not only and options["overlap"] != 0 and not options["emergency"]:
            out.line(f"The old login works until {result.get('retire_at')}.", style="dim")
            if result.get("close_by"):
                out.line(f"Then it is closed when it is no longer used, by {result['close_by']} at last.", style="dim")
