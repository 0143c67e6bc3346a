"""`manage.py create_api_key`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import api_keys
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, moment
from tenants.management.output import Output
from tenants.models.access import Scope


class Command(ControlPlaneCommand):
    help = (
        "Make an API key for a machine caller. The key is printed once and cannot be had again; only its hash is "
        "kept. Give it the scopes it needs and no more, and let it expire.\n\n"
        f"scopes: {', '.join(Scope.values)}"
    )
    examples = """
  manage.py create_api_key billing --scope tenants:read --expires 90d
  manage.py create_api_key deploy --scope tenants:read --scope tenants:write
  manage.py create_api_key acme-robot --tenant acme --scope tenants:read --scope credentials:rotate
  KEY=$(manage.py create_api_key ci --all-scopes --expires 12h --show-key-only)
  curl -H "Authorization: Api-Key $KEY" http://127.0.0.1:8000/api/v1/tenants
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what it is for, as the audit log will show it")
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--scope", action="append", dest="scopes", help="something it may do (repeatable)")
        group.add_argument("--all-scopes", action="store_const", const=Scope.values, dest="scopes", help="everything")
        parser.add_argument("--tenant", metavar="SLUG|ID", help="the only tenant it sees (default: the whole fleet)")
        parser.add_argument(
            "--expires", type=moment, metavar="WHEN", help="30d, 12h, 90m, or a date (default: it does not expire)"
        )
        parser.add_argument("--show-key-only", action="store_true", help="print the key and nothing else, for scripts")

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"]) if options["tenant"] else None
        row, key = api_keys.create_api_key(
            name=options["name"], scopes=options["scopes"], expires_at=options["expires"], tenant=tenant, **self.caller
        )
        return {**represent.api_key(row), "key": key}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if options["show_key_only"]:
            out.line(document["key"])
            return
        sees = document["tenant"] or "the whole fleet"
        facts = {
            "scopes": document["scopes"],
            "sees": sees,
            "expires": document["expires_at"] or "never",
            "key": document["key"],
        }
        out.facts(f"API key {document['name']} ({document['prefix']})", facts)
        out.line("The key is shown this once.", style="yellow")
