"""A handful of gauges for every tenant, from samples: bounded in number, and never by a look at a cluster."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from prometheus_client.utils import floatToGoString

from monitoring.catalogue import METRICS, Metric, Scope
from monitoring.readings import Reading, latest_of
from tenants.exceptions import InvalidInput
from tenants.models import Tenant

LEFT_OUT = "controlplane_tenants_left_out"


def exported() -> list[Metric]:
    """What is shown of each tenant."""
    return [one for one in METRICS.values() if one.scope is Scope.TENANT and one.exported]


def sparse() -> list[Metric]:
    """What is shown of those tenants only of whom it is not 0: alerts go by it, and mostly there are none."""
    return [one for one in METRICS.values() if one.scope is Scope.TENANT and one.sparse]


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


def page(which: Wanted) -> str:
    """The text of it: three queries and those of the facts, however many tenants there are.

    Written line by line: through the client's classes 2,000 tenants would take most of a second.
    """
    rows = Tenant.objects.exclude(state=Tenant.State.PURGED).order_by("created_at", "pk")
    labels: dict[uuid.UUID, str] = {
        pk: f'tenant="{_escaped(slug)}",cluster="{_escaped(host or cluster)}",plan="{_escaped(plan)}"'
        for pk, slug, cluster, host, plan in rows.values_list(
            "pk", "slug", "cluster__name", "cluster__host_cluster__name", "plan__slug"
        )
    }
    every = [*exported(), *sparse()]
    found = [one for one in latest_of(every) if one.tenant in labels]
    shown = _shown(labels, found, which)
    lines = [*_head(LEFT_OUT, "Tenants that this page does not show, for it may not or was asked for fewer.")]
    lines.append(f"{LEFT_OUT} {len(labels) - len(shown)}")
    of: dict[str, list[str]] = defaultdict(list)
    for reading in found:
        # Whoever is not shown for want of room has alerts all the same.
        if reading.tenant and (reading.value if reading.metric.sparse else reading.tenant in shown):
            of[reading.metric.name].append(f"{{{labels[reading.tenant]}}} {floatToGoString(reading.value)}")
    for metric in every:
        if series := of[metric.name]:
            lines += _head(metric.prometheus, metric.help)
            lines += [metric.prometheus + one for one in series]
    return "\n".join([*lines, ""])


def _head(name: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _shown(labels: dict[uuid.UUID, str], found: Sequence[Reading], which: Wanted) -> set[uuid.UUID]:
    if which.by is None:
        return set(list(labels)[: which.most])
    of = {one.tenant: one.value for one in found if one.metric is which.by and one.tenant is not None}
    return set(sorted(of, key=lambda tenant: of[tenant], reverse=True)[: which.most])
