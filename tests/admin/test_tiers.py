"""Tiers in the admin: a plan's, a tenant's, and clusters that are somebody's own."""

from __future__ import annotations

from typing import Any

from provisioning import services
from tenants import operations
from tenants.models import Plan, Tenant
from tests.admin.support import form_errors, tenant_url, text_of, url
from tests.admin.test_records import plan_answers
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


def test_a_plan_with_databases_of_their_own_and_a_tenant_on_it(browse: Any, template: Any, cluster: Any) -> None:
    client, answers = browse("administrator"), plan_answers(isolation_tier="database")
    client.post(url("tenants_plan_add"), answers)
    plan = Plan.objects.get(slug=answers["slug"])
    assert plan.isolation_tier == "database"
    assert "a database of its own on a shared server" in text_of(client.get(url("tenants_plan_change", plan.pk)))
    given = {"name": "Own", "slug": fresh_slug(), "plan": plan.slug, "template": template.template.name, "cluster": ""}
    made = client.post(url("tenants_tenant_add"), given)
    assert made.status_code == 302, text_of(made)
    tenant = Tenant.objects.get(slug=given["slug"])
    operations.work(tenant.operations.get().pk)
    tenant.refresh_from_db()
    page = text_of(client.get(tenant_url(tenant)))
    assert "a database of its own on a shared server" in page
    assert tenant.cluster.name in page
    clusters = url("tenants_cluster_changelist")
    assert tenant.cluster.name not in text_of(client.get(clusters))
    assert tenant.cluster.name in text_of(client.get(clusters + "?kind=databases"))
    page = text_of(client.get(url("tenants_cluster_change", tenant.cluster_id)))
    assert f"On the server of {cluster.name}" in page
    assert tenant.slug in page
    response = client.post(url("tenants_plan_edit", plan.pk), answers | {"isolation_tier": "schema"})
    assert "isolation_tier" in form_errors(response)
    begun = services.purge_tenant(
        tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="end", force=True, **WHO
    ).operation
    operations.work(begun.pk)
    assert Tenant.objects.get(pk=tenant.pk).state == "purged"
