"""`manage.py update_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.management import show
from provisioning.management.limits import label_arguments, limit_arguments
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, merged, natural
from tenants.management.output import Output
from tenants.models import Tenant


class Command(ControlPlaneCommand):
    help = (
        "Change a tenant's name, plan, labels or limits. A new plan and other limits reach its live logins at "
        "once; open sessions take them over at their next start. Labels and limits that are not named stay as they "
        "are."
    )
    examples = """
  manage.py update_tenant shop --plan business
  manage.py update_tenant shop --limit connection_limit=200 --remove-limit statement_timeout_ms
  manage.py update_tenant shop --name "Corner Shop Ltd" --label region=eu --remove-label trial
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--name", help="its new name")
        parser.add_argument("--plan", help="its new plan")
        label_arguments(parser)
        parser.add_argument("--remove-label", action="append", metavar="KEY", help="a label to drop (repeatable)")
        limit_arguments(parser)
        parser.add_argument(
            "--remove-limit", action="append", metavar="NAME", help="go back to the plan's limit (repeatable)"
        )
        parser.add_argument(
            "--expected-version", type=natural, metavar="N", help="change nothing unless this is its present version"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        tenant = find_tenant(options["tenant"])
        changes = self._changes(tenant, options)
        if not changes:
            raise InvalidInput("Say what to change.", code="usage", hint="update_tenant --help tells more.")
        # Labels and limits were merged with what was read: if that has changed since, nothing may be written.
        expected = options["expected_version"] if options["expected_version"] is not None else tenant.version
        done = services.update_tenant(tenant_id=tenant.pk, changes=changes, expected_version=expected, **self.caller)
        return show.outcome(done)

    def _changes(self, tenant: Tenant, options: dict[str, Any]) -> dict[str, Any]:
        changes = {name: options[name] for name in ("name", "plan") if options[name] is not None}
        for field, option in (("labels", "label"), ("limits", "limit")):
            if options[option] or options[f"remove_{option}"]:
                changes[field] = merged(getattr(tenant, field), options[option], options[f"remove_{option}"])
        return changes

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(
            f"Tenant {document['slug']}, version {document['version']}",
            {name: document[name] for name in ("name", "plan", "labels", "limits")},
        )
