"""Lists: pages that do not shift, filters that filter, and a constant number of queries."""

from __future__ import annotations

import secrets
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from provisioning.models import Template, TemplateVersion
from tenants import audit
from tenants.actors import Actor, Source
from tenants.identifiers import new_schema_name
from tenants.models import AuditEvent, Cluster, Operation, OperationStep, Plan, Tenant


@pytest.fixture
def client(api_client):
    return api_client()


@pytest.fixture
def mark():
    """A word that only this test's rows have."""
    return f"m{secrets.token_hex(6)}"


def rows(cluster, plan, mark: str, count: int, **fields) -> list[Tenant]:
    """Registry rows without schemas: for lists that is all there is to a tenant."""
    made = [
        Tenant(
            name=f"{mark} {i}", slug=f"{mark}-{secrets.token_hex(4)}", plan=plan, cluster=cluster, template=mark,
            template_version=1, schema_name=new_schema_name(), **{"state": "failed", **fields},
        )
        for i in range(count)
    ]  # fmt: skip
    return Tenant.objects.bulk_create(made)


def pages(client, path: str, link: str = "next") -> list[list[dict]]:
    found = []
    while path:
        body = client.get(path.removeprefix("http://testserver")).json()
        assert set(body) == {"results", "next", "previous"}
        found.append(body["results"])
        path = body[link]
    return found


def test_pages_are_newest_first_and_complete_forwards_and_backwards(client, cluster, plan, mark):
    made = rows(cluster, plan, mark, 23)
    # Many rows of one instant: the id decides.
    Tenant.objects.filter(pk__in=[tenant.pk for tenant in made[:9]]).update(created_at=timezone.now())
    newest_first = Tenant.objects.filter(template=mark).order_by("-created_at", "-id")
    wanted = [str(tenant.pk) for tenant in newest_first]
    forwards = pages(client, f"tenants?template={mark}&page_size=5")
    assert [len(page) for page in forwards] == [5, 5, 5, 5, 3]
    assert [row["id"] for page in forwards for row in page] == wanted
    body, last = client.get(f"tenants?template={mark}&page_size=5").json(), None
    assert body["previous"] is None
    while body["next"]:
        last = body["next"]
        body = client.get(last.removeprefix("http://testserver")).json()
    backwards = pages(client, last, "previous")
    assert [row["id"] for page in reversed(backwards) for row in page] == wanted


def test_rows_that_come_meanwhile_shift_nothing(client, cluster, plan, mark):
    rows(cluster, plan, mark, 6)
    first = client.get(f"tenants?template={mark}&page_size=3").json()
    rows(cluster, plan, mark, 4)
    second = client.get(first["next"].removeprefix("http://testserver")).json()
    seen = [row["id"] for row in first["results"] + second["results"]]
    assert len(set(seen)) == 6
    assert second["next"] is None
    back = client.get(second["previous"].removeprefix("http://testserver")).json()
    assert back["results"] == first["results"]
    assert back["previous"] is not None  # the four new ones


def test_an_empty_list_is_an_empty_page(client, mark):
    assert client.get(f"tenants?template={mark}").json() == {"results": [], "next": None, "previous": None}


def test_fifty_rows_a_page_unless_asked_otherwise(client, cluster, plan, mark):
    rows(cluster, plan, mark, 51)
    assert len(client.get(f"tenants?template={mark}").json()["results"]) == 50
    assert len(client.get(f"tenants?template={mark}&page_size=200").json()["results"]) == 51


def slugs(client, **query) -> set[str]:
    return {row["slug"] for row in client.get(f"tenants?{urlencode(query)}&page_size=200").json()["results"]}


def test_tenants_are_filtered_by_everything_promised(client, cluster, plan, mark, actor, source):
    other_plan = Plan.objects.create(slug=f"p-{mark}", name="Other")
    other_cluster = Cluster.objects.create(name=f"c-{mark}", state="disabled", host="h", dbname="d", username="u")
    [a] = rows(cluster, plan, mark, 1, labels={"env": "prod", "x": "a:b"})
    [b] = rows(cluster, other_plan, mark, 1, labels={"env": "test"}, state="purged")
    [c] = rows(other_cluster, plan, mark, 1)
    Tenant.objects.filter(pk=c.pk).update(name=f"The 100% {mark}", created_at=timezone.now() - timedelta(days=30))
    assert slugs(client, template=mark) == {a.slug, b.slug, c.slug}
    assert slugs(client, template=mark, state="purged") == {b.slug}
    assert slugs(client, plan=other_plan.slug) == {b.slug}
    assert slugs(client, cluster=other_cluster.name) == {c.slug}
    assert slugs(client, slug=a.slug) == {a.slug}
    assert slugs(client, q=f"100% {mark.upper()}") == {c.slug}
    assert slugs(client, q=a.slug[3:]) == {a.slug}
    assert slugs(client, template=mark, label="env:prod") == {a.slug}
    assert slugs(client, template=mark, label="x:a:b") == {a.slug}
    assert slugs(client, template=mark, label="env:pro") == set()
    week_ago = (timezone.now() - timedelta(days=7)).isoformat()
    assert slugs(client, template=mark, created_after=week_ago) == {a.slug, b.slug}
    assert slugs(client, template=mark, created_before=week_ago) == {c.slug}
    assert slugs(client, template=mark, state="failed", label="env:prod", q=mark) == {a.slug}


def operation(tenant: Tenant, **fields) -> Operation:
    made = Operation.objects.create(
        kind=fields.pop("kind", "tenant.suspend"), tenant=tenant, cluster=tenant.cluster, actor_kind="system",
        actor_label="x", channel="beat", **{"state": "succeeded", **fields},
    )  # fmt: skip
    OperationStep.objects.create(operation=made, name="only", state="succeeded")
    return made


def test_operations_are_filtered(client, cluster, plan, mark):
    first, second = rows(cluster, plan, mark, 2)
    a, b = operation(first), operation(first, state="failed", error={"code": "x", "message": "y"}, kind="tenant.purge")
    c = operation(second)

    def ids(**query):
        return {row["id"] for row in client.get(f"operations?{urlencode(query)}&page_size=200").json()["results"]}

    assert ids(tenant=first.pk) == {str(a.pk), str(b.pk)}
    assert ids(tenant=first.pk, state="failed") == {str(b.pk)}
    assert ids(tenant=first.pk, kind="tenant.purge") == {str(b.pk)}
    assert str(c.pk) in ids(kind="tenant.suspend")
    assert client.get(f"operations/{b.pk}").json()["error"] == {"code": "x", "message": "y"}


def test_the_audit_log_is_filtered(client, cluster, plan, mark):
    [tenant] = rows(cluster, plan, mark, 1)
    begun = timezone.now()
    somebody = Actor(kind="user", id="77", label=f"who-{mark}")
    for action, outcome in (("tenant.suspend", "success"), ("access.denied", "denied")):
        audit.record(action, actor=somebody, source=Source("admin"), tenant=tenant, outcome=outcome)
    audit.record("tenant.resume", actor=Actor("user", "78", "x"), source=Source("admin"), tenant=tenant)

    def actions(**query):
        query["page_size"] = 200
        return [row["action"] for row in client.get(f"audit-events?{urlencode(query)}").json()["results"]]

    assert actions(tenant=tenant.pk) == ["tenant.resume", "access.denied", "tenant.suspend"]
    assert actions(tenant=tenant.pk, action="tenant.suspend") == ["tenant.suspend"]
    assert actions(actor=somebody.label) == ["access.denied", "tenant.suspend"]
    assert actions(tenant=tenant.pk, actor="user:78") == ["tenant.resume"]
    assert actions(tenant=tenant.pk, outcome="denied") == ["access.denied"]
    assert len(actions(tenant=tenant.pk, since=begun.isoformat())) == 3
    assert actions(tenant=tenant.pk, until=begun.isoformat()) == []
    event = AuditEvent.objects.filter(tenant_id=tenant.pk).first()
    one = client.get(f"audit-events/{event.pk}").json()
    assert (one["target"]["label"], one["actor"]["kind"], one["source"]["channel"]) == (tenant.slug, "user", "admin")


@pytest.mark.parametrize("what", ["tenants", "operations", "audit-events", "clusters", "plans", "templates"])
def test_a_list_costs_the_same_number_of_queries_for_one_row_and_for_fifty(client, cluster, plan, mark, what):
    tenants = rows(cluster, plan, mark, 50)
    for i, tenant in enumerate(tenants):
        operation(tenant)
        audit.record("tenant.suspend", actor=Actor("system", "", "x"), source=Source("beat"), tenant=tenant)
        Plan.objects.create(slug=f"{mark}-{i}", name="P")
        Cluster.objects.create(name=f"{mark}-{i}", state="disabled", host="h", dbname=f"d{i}", username="u")
        made = Template.objects.create(name=f"{mark}-{i}")
        for number in (1, 2):
            TemplateVersion.objects.create(
                template=made, number=number, source="s", script="x", marker="m", compiled_on=180000
            )

    def queries(size: int) -> int:
        client.get(what)  # whatever happens only once
        with CaptureQueriesContext(connection) as captured:
            assert len(client.get(f"{what}?page_size={size}").json()["results"]) == size
        return len(captured)

    # The key, the rows; and for templates their versions, for clusters their last proof of isolation.
    assert queries(1) == queries(50) == (3 if what in ("templates", "clusters") else 2)
