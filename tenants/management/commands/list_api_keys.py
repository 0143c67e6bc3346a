"""`manage.py list_api_keys`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output
from tenants.models import ApiKey


class Command(ControlPlaneCommand):
    help = """Show the API keys: what each may do, which tenant it is bound to, and when it was last used.

    The keys themselves are not stored. One that nobody has used for long is one to revoke."""
    examples = """
  manage.py list_api_keys
  manage.py list_api_keys --all
  manage.py list_api_keys --json | jq -r '.api_keys[] | select(.last_used_at == null) | .prefix'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="those that are revoked or expired, too")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = ApiKey.objects.select_related("tenant")
        if not options["all"]:
            rows = rows.filter(revoked_at=None).exclude(expires_at__lte=timezone.now())
        return {"api_keys": [represent.api_key(row) for row in rows]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        for key in document["api_keys"]:
            facts = {
                "scopes": key["scopes"],
                "sees": key["tenant"] or "the whole fleet",
                "expires": key["expires_at"] or "never",
                "last used": key["last_used_at"] or "never",
                **({"revoked": key["revoked_at"]} if key["revoked_at"] else {}),
            }
            out.facts(f"{key['name']} ({key['prefix']})", facts)
        if not document["api_keys"]:
            out.line("There is none.")
