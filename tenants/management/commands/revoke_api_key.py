"""`manage.py revoke_api_key`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import api_keys
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_api_key
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = "Make an API key useless, at once and for good. Its row and what it did stay in the audit log."
    examples = """
  manage.py revoke_api_key 3fa94c01d2 --reason "left in a public repository"
  manage.py revoke_api_key billing --reason "replaced"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="PREFIX|NAME", help="its prefix (the ten characters after cp_), or its name")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        key = find_api_key(options["key"])
        return represent.api_key(api_keys.revoke_api_key(api_key=key, reason=options["reason"], **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"The API key {document['name']} ({document['prefix']}) is revoked.")
