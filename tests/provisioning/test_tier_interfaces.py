"""Tiers in REST and in commands."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning import services
from tenants import operations, plans
from tenants.models import Cluster, Plan, Tenant
from tests.commands.support import call, refusal, text
from tests.provisioning.support import ACTOR, SOURCE, act
from tests.support.fixtures import fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@pytest.fixture(scope="module")
def own(plan: Any) -> Plan:
    return plans.create_plan(slug=fresh_slug("own"), name="Own", isolation_tier="database", **WHO)


def listed(client: Any, path: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    while path:
        body = client.get(path.removeprefix("http://testserver")).json()
        found += body["results"]
        path = body["next"]
    return found


def names(client: Any, path: str) -> set[str]:
    return {row["name"] for row in listed(client, path)}


def test_by_rest(api_client: Any, template: Any, cluster: Cluster, own: Plan, plan: Plan) -> None:
    client = api_client()
    tiers = {row["slug"]: row["isolation_tier"] for row in listed(client, "plans?page_size=100")}
    assert (tiers[own.slug], tiers[plan.slug]) == ("database", "schema")
    body = {"name": "Own", "slug": fresh_slug(), "plan": own.slug, "template": template.template.name}
    answer = client.post("tenants", body)
    assert answer.status_code == 202, answer.content
    operation = answer.json()["id"]
    operations.work(operation)
    connection = client.post(f"operations/{operation}/credentials", {}).json()
    tenant = Tenant.objects.get(slug=body["slug"])
    assert connection["dbname"] == tenant.schema_name
    shown = client.get(f"tenants/{tenant.pk}").json()
    assert (shown["cluster"], shown["isolation_tier"], shown["state"]) == (cluster.name, "database", "active")
    for query in (f"cluster={cluster.name}", "isolation_tier=database"):
        rows = client.get(f"tenants?slug={tenant.slug}&{query}").json()["results"]
        assert [row["slug"] for row in rows] == [tenant.slug]
    assert client.get(f"tenants?slug={tenant.slug}&isolation_tier=schema").json()["results"] == []
    assert tenant.cluster.name not in names(client, "clusters")
    assert cluster.name in names(client, "clusters?dedicated=false")
    assert tenant.cluster.name in names(client, "clusters?own_databases=true")
    row = client.get(f"clusters/{tenant.cluster_id}").json()
    assert (row["dedicated"], row["dedicated_to"], row["host_cluster"]) == (True, str(tenant.pk), cluster.name)
    refused = client.patch(f"tenants/{tenant.pk}", {"plan": plan.slug})
    assert (refused.status_code, refused.json()["code"]) == (409, "tier_differs")
    whole = plans.create_plan(slug=fresh_slug("whole"), name="Whole", isolation_tier="cluster", **WHO)
    refused = client.post("tenants", {**body, "slug": fresh_slug(), "plan": whole.slug})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_free_cluster")
    _purge(tenant)


def _purge(tenant: Tenant) -> None:
    begun = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="end", force=True)
    operations.work(begun.operation.pk)
    assert Tenant.objects.get(pk=tenant.pk).state == "purged"


def test_by_command(template: Any, cluster: Cluster, own: Plan) -> None:
    slug = fresh_slug()
    made = call("create_tenant", slug, "--plan", own.slug, "--template", template.template.name, "--here")
    assert made["connection"]["dbname"] == made["schema_name"]
    shown = call("show_tenant", slug)
    assert (shown["isolation_tier"], shown["cluster"], shown["state"]) == ("database", cluster.name, "active")
    assert shown["connection"]["dbname"] == shown["schema_name"]
    assert "database" in text("show_tenant", slug)
    there = call("list_tenants", "--cluster", cluster.name, "--limit", "1000")["tenants"]
    assert slug in {row["slug"] for row in there}
    tenant = Tenant.objects.get(slug=slug)
    (checked,) = call("check_clusters", tenant.cluster.name)["clusters"]
    assert (checked["ok"], checked["host_cluster"], checked["dedicated_to"]) == (True, cluster.name, slug)
    assert call("check_isolation", tenant.cluster.name)["clusters"][0]["ok"]
    code, error = refusal("prepare_cluster", tenant.cluster.name, "--level", "baseline")
    assert (code != 0, cluster.name in str(error)) == (True, True)
    _purge(tenant)
