"""/metrics/tenants: a bounded handful of gauges for every tenant, by a handful of queries, from samples."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.metrics import tenants as page
from monitoring import partitions
from monitoring.models import ProbeState, TenantActivity, TenantSize
from tenants.identifiers import new_schema_name
from tenants.models import Cluster, Tenant
from tests.monitoring.test_metrics import promtool, value
from tests.rest.support import problem

COUNT = 2_000
# Larger than any tenant of another test.
LARGE = 10**13


class Fleet:
    """Rows of tenants with samples, oldest first; the newer one is, the larger."""

    def __init__(self, cluster: Cluster, plan: Any, count: int) -> None:
        self.cluster, self.plan = cluster, plan
        stem = uuid.uuid4().hex[:8]
        made = [
            Tenant(
                name="Acme", slug=f"many-{stem}-{number:05}", plan=plan, cluster=cluster, template="tiny",
                template_version=1, schema_name=new_schema_name(), state=Tenant.State.ACTIVE,
            )
            for number in range(count)
        ]  # fmt: skip
        self.tenants = Tenant.objects.bulk_create(made)
        self.look()

    def look(self) -> None:
        """A look of both probes."""
        at = timezone.now()
        for model in (TenantActivity, TenantSize):
            partitions.ensure(model, [at])
        of = {"taken_at": at, "cluster_id": self.cluster.pk}
        TenantActivity.objects.bulk_create(
            TenantActivity(
                tenant_id=tenant.pk, connections=number % 50, connection_limit=50, calls=10, total_seconds=0.5, **of
            )
            for number, tenant in enumerate(self.tenants)
        )
        TenantSize.objects.bulk_create(
            TenantSize(tenant_id=tenant.pk, total_bytes=LARGE + number, quota_bytes=10 * LARGE, **of)
            for number, tenant in enumerate(self.tenants)
        )
        for probe in ("activity", "sizes"):
            ProbeState.objects.update_or_create(
                cluster=self.cluster, probe=probe, defaults={"tried_at": at, "ok_at": at}
            )


@pytest.fixture(scope="module")
def fleet(plan: Any) -> Iterator[Fleet]:
    cluster = Cluster.objects.create(name=f"many-{uuid.uuid4().hex[:8]}", host="127.0.0.1", port=1, dbname="nowhere")
    yield Fleet(cluster, plan, COUNT)
    Tenant.objects.filter(cluster=cluster).delete()
    cluster.delete()


def get(**query: Any) -> str:
    response = Client().get("/metrics/tenants", query)
    assert response.status_code == 200, response.content
    return response.content.decode()


def slugs(text: str, fleet: Fleet) -> list[str]:
    """Whose size is shown."""
    begin = "controlplane_tenant_size_bytes{"
    lines = [line for line in text.splitlines() if line.startswith(begin)]
    return [tenant.slug for tenant in fleet.tenants if any(f'"{tenant.slug}"' in line for line in lines)]


def test_two_thousand_tenants_take_a_handful_of_queries(fleet: Fleet, django_assert_max_num_queries: Any) -> None:
    get()
    with django_assert_max_num_queries(18):
        text = get()
    lines = [line for line in text.splitlines() if fleet.cluster.name in line]
    assert len(lines) == COUNT * 5  # no backup is wanted of a tenant that has no status
    of = {"tenant": fleet.tenants[7].slug, "cluster": fleet.cluster.name, "plan": fleet.plan.slug}
    assert value(text, "controlplane_tenant_size_bytes", **of) == LARGE + 7
    assert value(text, "controlplane_tenant_quota_used_ratio", **of) == pytest.approx(0.1)
    assert value(text, "controlplane_tenant_connections", **of) == 7
    assert value(text, "controlplane_tenant_statement_mean_seconds", **of) == 0.05
    assert value(text, "controlplane_tenants_left_out") == 0


def test_only_a_handful_is_shown_and_promtool_likes_it(fleet: Fleet) -> None:
    text = get(top=3, by="connections")
    assert promtool(text) == ""
    names = {line.split("{")[0] for line in text.splitlines() if line.startswith("controlplane_tenant_")}
    assert names <= {one.prometheus for one in [*page.exported(), *page.sparse()]}
    assert len(page.exported()) <= 8


def test_there_is_a_cap_and_it_says_what_it_left_out(fleet: Fleet, settings: Any) -> None:
    others = Tenant.objects.exclude(state="purged").count() - COUNT
    older = Tenant.objects.exclude(state="purged").filter(created_at__lt=fleet.tenants[0].created_at).count()
    settings.METRICS_TENANTS_MAX = older + 10
    text = get()
    # The oldest, so that series do not come and go.
    assert slugs(text, fleet) == [tenant.slug for tenant in fleet.tenants[:10]]
    assert value(text, "controlplane_tenants_left_out") == COUNT + others - older - 10


def test_the_top_ones_by_a_metric(fleet: Fleet) -> None:
    text = get(top=3, by="size_bytes")
    assert slugs(text, fleet) == [tenant.slug for tenant in fleet.tenants[-3:]]
    assert value(text, "controlplane_tenants_left_out") == Tenant.objects.exclude(state="purged").count() - 3


@pytest.mark.parametrize(
    "query", [{"top": "3"}, {"by": "size_bytes"}, {"top": "0", "by": "size_bytes"}, {"top": "3", "by": "xid_age"},
              {"top": "-1", "by": "size_bytes"}, {"top": "9" * 30, "by": "size_bytes"}, {"top": "x", "by": "slug"}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    problem(Client().get("/metrics/tenants", query), 400, "invalid")


def test_who_is_purged_is_gone(fleet: Fleet) -> None:
    one = fleet.tenants[0]
    Tenant.objects.filter(pk=one.pk).update(state=Tenant.State.PURGED)
    assert one.slug not in get()
    Tenant.objects.filter(pk=one.pk).update(state=Tenant.State.ACTIVE)
    assert one.slug in get()
