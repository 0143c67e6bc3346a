"""From names that people give to the rows they mean, or a clear error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.models import Q

from provisioning.models import Template, TemplateVersion
from tenants import rows
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Cluster, ClusterLogin, Plan, Pooler, Tier
from tenants.models.plans import LIMITS
from tenants.postgres import load_queries

IMPORT = "Import one: manage.py import_template --help."
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True)
class Choice:
    """What a new tenant is made of, and where."""

    version: TemplateVersion
    plan: Plan
    cluster: Cluster


def choice(*, template: str | None, plan: str | None, cluster: str | None) -> Choice:
    """The newest version of this template, this plan and this cluster; what is not named is the default.

    All by one query, since every new tenant waits for it. Raises InvalidInput for a name that nothing has, and Conflict
    when the cluster takes no new tenants.
    """
    models = {
        "version": TemplateVersion,
        "template": Template,
        "plan": Plan,
        "cluster": Cluster,
        "pooler": Pooler,
        "provisioner": ClusterLogin,
    }
    found = rows.select_one(
        QUERIES["resolve"], models, {"template_name": template, "plan_slug": plan, "cluster_name": cluster}
    )
    version = _named(template, found["version"], "template", hint=IMPORT)
    version.template = found["template"]
    of_plan: Plan = _named(plan, found["plan"], "plan")
    place: Cluster = _named(cluster, found["cluster"], "cluster")
    if of_plan.isolation_tier != Tier.CLUSTER or cluster is not None:  # else one that is free is looked for
        _fitting(_open(place), of_plan)
    Pooler.cluster.field.remote_field.set_cached_value(place, found["pooler"])  # its address is what tenants are told
    place.provisioner = found["provisioner"]
    return Choice(version, of_plan, place)


def _fitting(cluster: Cluster, plan: Plan) -> None:
    if cluster.host_cluster_id:
        raise Conflict(f"'{cluster.name}' is the database of another tenant.", code="cluster_dedicated")
    if cluster.dedicated and plan.isolation_tier != Tier.CLUSTER:
        raise Conflict(
            f"The cluster '{cluster.name}' is reserved for one tenant, and the plan '{plan.slug}' is of the tier "
            f"{plan.isolation_tier}.",
            code="cluster_dedicated",
            hint="Choose a plan of the tier cluster, or another cluster.",
        )
    if plan.isolation_tier == Tier.CLUSTER and not cluster.dedicated:
        raise InvalidInput(
            f"The plan '{plan.slug}' gives a cluster of one's own, and '{cluster.name}' is not reserved for that.",
            field="cluster",
            hint="Leave the cluster out: one that is free is taken.",
        )


def _named(name: str | None, found: Any, what: str, hint: str = "") -> Any:
    if found is None:
        message = f"There is no default {what}." if name is None else f"There is no {what} '{name}'."
        raise InvalidInput(message, field=what, hint=hint)
    return found


def _open(cluster: Cluster) -> Cluster:
    if cluster.state != Cluster.State.ACTIVE:
        raise Conflict(f"The cluster '{cluster.name}' is disabled and takes no new tenants.", code="cluster_disabled")
    return cluster


def plan(slug: str) -> Plan:
    """The plan of this name. Raises InvalidInput."""
    found: Plan = _named(slug, Plan.objects.filter(slug=slug).first(), "plan")
    return found


def cluster(name: str | None) -> Cluster:
    """The cluster of this name, or the default one. Raises InvalidInput, or Conflict when it takes no tenants."""
    wanted = Cluster.objects.filter(is_default=True) if name is None else Cluster.objects.filter(name=name)
    return _open(_named(name, wanted.first(), "cluster"))


def template_version(name: str | None) -> TemplateVersion:
    """The newest version of the template of this name, or of the default one. Raises InvalidInput."""
    versions = TemplateVersion.objects.select_related("template").defer("script").order_by("-number")
    wanted = versions.filter(template__is_default=True) if name is None else versions.filter(template__name=name)
    found: TemplateVersion = _named(name, wanted.first(), "template", hint=IMPORT)
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
    """The registered clusters that hold tenants of this plan, in databases of their own too."""
    held = Q(tenants__plan=plan) | Q(databases__tenants__plan=plan)
    return list(Cluster.objects.filter(held, host_cluster=None).distinct())
