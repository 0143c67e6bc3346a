"""Metrics of a test's own, whose figures it sets; and rules about them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from monitoring.alerts import rules
from monitoring.catalogue import METRICS, Metric, Scope, Unit
from monitoring.models import AlertRule
from tenants import facts
from tenants.models import Cluster, Plan, Tenant
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


class Dial:
    """A metric that nobody else has; `values` is what it shows by id of the cluster or tenant. `broken`: no figures."""

    def __init__(self, scope: Scope, unit: Unit = Unit.COUNT) -> None:
        self.scope, self.name = scope, f"dial_{uuid.uuid4().hex[:12]}"
        self.metric = Metric(self.name, "A test's.", scope, unit)
        self.values: dict[Any, float] = {}
        self.broken = False

    def tell(self) -> list[facts.Fact]:
        """As a source of facts does."""
        if self.broken:
            raise ConnectionError("the source is away")
        if self.scope is Scope.FLEET:
            return [facts.Fact(value) for value in self.values.values()]
        subject = "tenant" if self.scope is Scope.TENANT else "cluster"
        return [facts.Fact(value, **{subject: pk}) for pk, value in self.values.items()]

    def rule(self, **values: Any) -> AlertRule:
        """A rule about it: above 10, unless said otherwise."""
        wanted = {
            "name": "Too high", "scope": self.scope, "metric": self.name, "comparison": ">", "threshold": 10.0,
            "severity": "warning", "summary": "{subject} shows {value}", **values,
        }  # fmt: skip
        return rules.create_rule(slug=fresh_slug("rule"), changes=wanted, actor=ACTOR, source=SOURCE)


@contextmanager
def dial(scope: Scope = Scope.CLUSTER, unit: Unit = Unit.COUNT) -> Iterator[Dial]:
    """A dial while the block lasts; its rules are disabled afterwards."""
    made = Dial(scope, unit)
    METRICS[scope, made.name] = made.metric
    facts.register(f"{scope}.{made.name}", made.tell)
    try:
        yield made
    finally:
        AlertRule.objects.filter(metric=made.name).update(enabled=False)
        METRICS.pop((scope, made.name))
        facts._sources.pop(f"{scope}.{made.name}")


def a_cluster() -> Cluster:
    """A row, with no server behind it."""
    return Cluster.objects.create(name=fresh_slug("seen"), host="127.0.0.1", port=1, dbname="nowhere")


def a_tenant(cluster: Cluster, plan: Plan) -> Tenant:
    """A row, with no schema behind it."""
    slug = fresh_slug("shop")
    return Tenant.objects.create(
        name=slug, slug=slug, schema_name=f"t_{uuid.uuid4().hex[:20]}", state="active", plan=plan, cluster=cluster,
        template="tiny", template_version=1,
    )  # fmt: skip
