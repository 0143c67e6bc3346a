"""`manage.py export_audit_log`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants.exceptions import InvalidInput
from tenants.filters import AuditEventFilter
from tenants.ledger.export import FORMATS, export
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant
from tenants.management.output import Output
from tenants.models import AuditEvent

_FILTERS = ("action", "actor", "outcome", "channel", "request_id", "target", "since", "until")


class Command(ControlPlaneCommand):
    help = (
        "Write audit events into a new file: as CSV that no spreadsheet takes for formulas, or as JSON Lines with a "
        "proof, which scripts/verify_audit_export.py verifies anywhere with the signer's public key. That it was done "
        "stands in the log."
    )
    examples = """
  manage.py export_audit_log acme.jsonl --tenant acme --since 2026-01-01T00:00Z
  manage.py export_audit_log refused.csv --format csv --outcome denied
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="what to write; it must not exist yet")
        parser.add_argument("--format", choices=FORMATS, default="jsonl", help="default: jsonl, with proof")
        parser.add_argument("--tenant", metavar="SLUG|ID", help="only of this tenant")
        for name in _FILTERS:
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, help=f"only these; as the filter '{name}' of the API")

    def run(self, **options: Any) -> dict[str, Any]:
        chosen = {name: options[name] for name in _FILTERS if options[name]}
        if options["tenant"]:
            chosen["tenant"] = str(find_tenant(options["tenant"]).pk)
        found = AuditEventFilter(chosen, queryset=AuditEvent.objects.all())
        if not found.is_valid():
            name, errors = next(iter(found.errors.items()))
            raise InvalidInput(f"--{name.replace('_', '-')}: {errors[0]}", field=name)
        lines = export(found.qs, kind=options["format"], described=chosen, **self.caller)
        size = 0
        try:
            with options["file"].open("x", encoding="utf-8", newline="") as out:
                for text in lines:
                    size += out.write(text)
        except OSError as error:
            raise InvalidInput(f"{options['file']} cannot be written: {error.strerror}.", field="file") from error
        return {"file": str(options["file"]), "format": options["format"], "filter": chosen, "characters": size}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts("exported", document)
