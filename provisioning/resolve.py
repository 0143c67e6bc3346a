"""From names that people give to the rows they mean, or a clear error."""

from __future__ import annotations

from provisioning.models import TemplateVersion
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Cluster, Plan
from tenants.models.plans import LIMITS


def plan(slug: str | None) -> Plan:
    """The plan of this name, or the default one. Raises InvalidInput."""
    found = Plan.objects.filter(is_default=True).first() if slug is None else Plan.objects.filter(slug=slug).first()
    if found is None:
        raise InvalidInput(f"There is no plan '{slug}'." if slug else "No plan is the default.", field="plan")
    return found


def cluster(name: str | None) -> Cluster:
    """The cluster of this name, or the default one. Raises InvalidInput, or Conflict when it takes no tenants."""
    wanted = Cluster.objects.filter(is_default=True) if name is None else Cluster.objects.filter(name=name)
    found = wanted.first()
    if found is None:
        raise InvalidInput(
            f"There is no cluster '{name}'." if name else "There is no default cluster.", field="cluster"
        )
    if found.state != Cluster.State.ACTIVE:
        raise Conflict(f"The cluster '{found.name}' is disabled and takes no new tenants.", code="cluster_disabled")
    return found


def template_version(name: str | None) -> TemplateVersion:
    """The newest version of the template of this name, or of the default one. Raises InvalidInput."""
    versions = TemplateVersion.objects.select_related("template").defer("script").order_by("-number")
    wanted = versions.filter(template__is_default=True) if name is None else versions.filter(template__name=name)
    found = wanted.first()
    if found is None:
        message = f"There is no template '{name}'." if name else "There is no default template."
        raise InvalidInput(message, field="template", hint="Import one: manage.py import_template --help.")
    return found


def limits(value: object) -> dict[str, int]:
    """`value` if it is an object of known limits within their bounds. Raises InvalidInput naming the limit."""
    if not isinstance(value, dict):
        raise InvalidInput("Limits are an object of whole numbers.", field="limits")
    for name, number in value.items():
        if name not in LIMITS:
            raise InvalidInput(f"There is no limit '{name}'.", field="limits", hint=f"Known: {', '.join(LIMITS)}.")
        low, high = LIMITS[name]
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise InvalidInput(f"{name} is a whole number from {low} to {high}.", field="limits")
    return value


def clusters_with_plan(plan: Plan) -> list[Cluster]:
    """The clusters that hold tenants of this plan."""
    return list(Cluster.objects.filter(tenants__plan=plan).distinct())
