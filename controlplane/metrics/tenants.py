"""A handful of gauges for every tenant, from samples: bounded in number, and never by a look at a cluster."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from prometheus_client import Metric as Family
from prometheus_client.core import GaugeMetricFamily

from monitoring.catalogue import METRICS, Metric, Scope
from monitoring.readings import Reading, latest_of
from tenants.exceptions import InvalidInput
from tenants.models import Tenant

LABELS = ("tenant", "cluster", "plan")


def exported() -> list[Metric]:
    """What is shown of each tenant."""
    return [one for one in METRICS.values() if one.scope is Scope.TENANT and one.exported]


@dataclass(frozen=True)
class Wanted:
    """Which tenants: the oldest up to a cap, so that they stay the same; or the first by a metric."""

    most: int
    by: Metric | None = None


def wanted(top: str | None, by: str | None) -> Wanted:
    """What `?top=N&by=METRIC` asks for. Raises InvalidInput."""
    most: int = settings.METRICS_TENANTS_MAX
    if top is None and by is None:
        return Wanted(most)
    known = {one.name: one for one in exported()}
    if by not in known:
        raise InvalidInput(f"by is one of {', '.join(known)}.", field="by")
    if top is None or not (top.isascii() and top.isdecimal() and len(top) < 10 and int(top)):
        raise InvalidInput("top is a number of tenants.", field="top")
    return Wanted(min(int(top), most), known[by])


def gauges(which: Wanted) -> list[Family]:
    """Three queries and those of the facts, however many tenants there are."""
    rows = Tenant.objects.exclude(state=Tenant.State.PURGED).order_by("created_at", "pk")
    labels: dict[uuid.UUID, tuple[str, str, str]] = {
        pk: (slug, host or cluster, plan)
        for pk, slug, cluster, host, plan in rows.values_list(
            "pk", "slug", "cluster__name", "cluster__host_cluster__name", "plan__slug"
        )
    }
    found = [one for one in latest_of(exported()) if one.tenant in labels]
    shown = _shown(labels, found, which)
    families = {one: GaugeMetricFamily(one.prometheus, one.help, labels=LABELS) for one in exported()}
    for reading in found:
        if reading.tenant in shown:
            families[reading.metric].add_metric(labels[reading.tenant], reading.value)
    left_out = GaugeMetricFamily(
        "controlplane_tenants_left_out",
        "Tenants that this page does not show: there are more than it may, or were asked for.",
    )
    left_out.add_metric([], len(labels) - len(shown))
    return [left_out, *(family for family in families.values() if family.samples)]


def _shown(labels: dict[uuid.UUID, tuple[str, str, str]], found: Sequence[Reading], which: Wanted) -> set[uuid.UUID]:
    if which.by is None:
        return set(list(labels)[: which.most])
    of = {one.tenant: one.value for one in found if one.metric is which.by and one.tenant is not None}
    return set(sorted(of, key=lambda tenant: of[tenant], reverse=True)[: which.most])
