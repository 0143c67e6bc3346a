"""`manage.py backup_policy`."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models.policies import FLAGS, NUMBERS, VALUES
from backups.services import history, policies
from backups.services.storages import get_storage
from tenants.exceptions import InvalidInput, NotFound
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, pair
from tenants.management.output import Output
from tenants.models import Plan, Tenant


def _value(text: str) -> tuple[str, Any]:
    name, value = pair(text)
    if name not in VALUES:
        raise argparse.ArgumentTypeError(f"a policy has no '{name}'; it has {', '.join(VALUES)}")
    if name in NUMBERS:
        if not value.isdecimal():
            raise argparse.ArgumentTypeError(f"'{value}' is not a whole number (in '{text}')")
        return name, int(value)
    if name in FLAGS:
        if value not in ("true", "false"):
            raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false (in '{text}')")
        return name, value == "true"
    return name, value


class Command(ControlPlaneCommand):
    help = (
        "Show or change when tenants are backed up and how long that is kept: for all plans, for one plan (--plan) or "
        "for one tenant (--tenant). --preview shows which of a tenant's real backups the policy would keep and why, "
        "with --set as it would be then; nothing is changed by it."
    )
    examples = """
  manage.py backup_policy --set schedule="30 2 * * *" --set time_zone=Europe/Berlin
  manage.py backup_policy --plan enterprise --set keep_daily=30 --set keep_monthly=24
  manage.py backup_policy --tenant shop --set keep_daily=7 --preview
"""

    def arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--plan", metavar="SLUG", help="that of a plan")
        whose.add_argument("--tenant", metavar="SLUG|ID", help="where a tenant differs from its plan")
        parser.add_argument("--set", action="append", type=_value, metavar="NAME=VALUE", default=[], dest="values")
        parser.add_argument("--storage", metavar="NAME", help="where backups go")
        parser.add_argument("--copy-to", action="append", metavar="NAME", help="where they are copied to (repeatable)")
        parser.add_argument("--reset", action="store_true", help="follow the plan (or all other plans) again")
        parser.add_argument("--preview", action="store_true", help="what it would keep of a tenant's backups")
        parser.add_argument("--reason", default="", help="why a tenant differs; kept in the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        changes = dict(options["values"])
        if options["tenant"]:
            return self._of_tenant(find_tenant(options["tenant"]), changes, options)
        if options["preview"]:
            raise InvalidInput("A preview needs a tenant.", code="usage", hint="Give --tenant.")
        plan = _plan(options["plan"])
        if options["reset"]:
            if plan is None:
                raise InvalidInput("Everybody follows this policy.", code="usage", hint="Give --plan or --tenant.")
            policies.drop_policy(plan=plan, **self.caller)
        elif changes or options["storage"] or options["copy_to"]:
            policies.set_policy(plan=plan, changes=changes, **self._places(options), **self.caller)
        found = policies.Book().of(Tenant(plan=plan) if plan else Tenant(), None)
        return represent.policy(found, f"plan {plan.slug}" if plan else "all plans without their own")

    def _places(self, options: dict[str, Any]) -> dict[str, Any]:
        places: dict[str, Any] = {}
        if options["storage"]:
            places["storage"] = get_storage(options["storage"])
        if options["copy_to"]:
            places["copies"] = [get_storage(name) for name in options["copy_to"]]
        return places

    def _of_tenant(self, tenant: Tenant, changes: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        found = policies.effective(tenant)
        if options["preview"]:
            policy = policies.check_values(changes, base=found.policy)
            lines = [represent.kept(entry, why) for entry, why in history.preview(tenant, policy)]
            return {**represent.policy(found, tenant.slug), **changes, "preview": lines}
        override = {} if options["reset"] else (found.override.values if found.override else {})
        if changes or options["reset"] or options["storage"]:
            kept = None if options["reset"] or found.override is None else found.override.storage
            place = get_storage(options["storage"]) if options["storage"] else kept
            policies.set_override(
                tenant=tenant, values={**override, **changes}, storage=place, reason=options["reason"], **self.caller
            )
        return represent.policy(policies.effective(tenant), tenant.slug)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if "preview" in document:
            out.table(
                ["id", "of", "kept", "because"],
                [[row["id"], row["at"], row["keep"], "; ".join(row["reasons"])] for row in document["preview"]],
            )
            return
        out.facts(f"Backups of {document['for']}", {name: v for name, v in document.items() if name != "for"})


def _plan(slug: str | None) -> Plan | None:
    if slug is None:
        return None
    found = Plan.objects.filter(slug=slug).first() if "\0" not in slug else None
    if found is None:
        raise NotFound(f"There is no plan '{slug}'.")
    return found
