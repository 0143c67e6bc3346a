"""A tenant's life through the REST interface."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tenants import operations
from tenants.models import AuditEvent, Operation, Tenant
from tests.provisioning.support import warm
from tests.rest.support import new_tenant, problem, wrong_fields
from tests.support.fixtures import fresh_slug

FIELDS = {
    "id", "name", "slug", "state", "state_reason", "schema_name", "cluster", "template", "template_version", "plan",
    "isolation_tier",
    "labels", "limits", "effective_limits", "created_at", "updated_at", "deleted_at", "purge_after", "links",
}  # fmt: skip


@pytest.fixture
def client(api_client, plan):
    return api_client()


def can_connect(connection) -> bool:
    import psycopg

    try:
        with psycopg.connect(connection["dsn"], connect_timeout=5) as session:
            session.execute("SELECT count(*) FROM customers")
            return True
    except psycopg.OperationalError:
        return False


def test_a_warm_tenant_is_answered_at_once_with_working_credentials(client, template, cluster):
    warm(cluster, template)
    slug = fresh_slug()
    response = client.post("tenants", {"name": "Müller & Söhne", "slug": slug, "labels": {"tier": "gold"}})
    assert response.status_code == 201
    body = response.json()
    assert set(body) == FIELDS | {"connection", "operation"}
    assert (body["state"], body["slug"], body["name"]) == ("active", slug, "Müller & Söhne")
    assert body["labels"] == {"tier": "gold"}
    assert set(body["connection"]) == {"host", "port", "dbname", "user", "password", "search_path", "dsn"}
    assert can_connect(body["connection"])
    assert response["Location"] == f"/api/v1/tenants/{body['id']}" == body["links"]["self"]
    assert response["Cache-Control"] == "no-store"
    assert body["operation"]["state"] == "succeeded"
    assert body["operation"]["links"]["credentials"] is None


def test_the_password_is_in_that_one_answer_only(client, template, cluster):
    made = new_tenant(client, template, cluster)
    secret = made["connection"]["password"]
    for path in (
        "tenants",
        f"tenants/{made['id']}",
        f"operations/{made['operation']['id']}",
        f"operations?tenant={made['id']}",
        f"audit-events?tenant={made['id']}",
    ):
        response = client.get(path)
        assert response.status_code == 200, path
        assert secret not in response.content.decode()
    problem(client.post(f"operations/{made['operation']['id']}/credentials"), 410, "already_collected")


def test_reading_gives_what_creating_gave(client, template, cluster):
    made = new_tenant(client, template, cluster)
    response = client.get(f"tenants/{made['id']}")
    assert response.status_code == 200
    assert response.json() == {name: made[name] for name in FIELDS}


def test_limits_of_ones_own_lie_over_the_plans(client, template, cluster):
    made = new_tenant(client, template, cluster, limits={"connection_limit": 77})
    assert made["limits"] == {"connection_limit": 77}
    assert made["effective_limits"]["connection_limit"] == 77
    assert made["effective_limits"]["lock_timeout_ms"] > 0


def test_prefer_respond_async_is_honoured_and_the_credentials_come_once(client, template, cluster, api_client):
    slug = fresh_slug()
    response = client.post("tenants", {"name": "Later", "slug": slug}, prefer="wait=1, respond-async")
    assert response.status_code == 202
    assert response["Preference-Applied"] == "respond-async"
    operation = response.json()
    assert response["Location"] == f"/api/v1/operations/{operation['id']}" == operation["links"]["self"]
    assert (operation["tenant_slug"], operation["state"]) == (slug, "pending")
    collect = operation["links"]["credentials"]
    problem(client.post(collect), 409, "not_finished")

    operations.work(operation["id"])
    done = client.get(response["Location"]).json()
    assert (done["state"], done["progress"]) == ("succeeded", 100)
    assert [step["state"] for step in done["steps"]] == ["succeeded"] * len(done["steps"]) != []
    assert client.get(f"tenants/{done['tenant']}").json()["state"] == "active"

    problem(api_client("tenants:write").post(collect), 403, "forbidden")
    collected = client.post(collect)
    assert collected.status_code == 200
    assert collected["Cache-Control"] == "no-store"
    assert can_connect(collected.json())
    problem(client.post(collect), 410, "already_collected")
    assert client.get(response["Location"]).json()["links"]["credentials"] is None
    assert AuditEvent.objects.filter(tenant_id=done["tenant"], action="credentials.reveal").count() == 1


def test_the_key_that_asked_may_collect_without_the_scope_to_rotate(api_client, plan, template, cluster):
    creator = api_client("tenants:write")
    operation = creator.post("tenants", {"name": "A", "slug": fresh_slug()}, prefer="respond-async").json()
    operations.work(operation["id"])
    assert creator.post(operation["links"]["credentials"]).status_code == 200


def test_suspend_resume_delete_undelete(client, template, cluster):
    made = new_tenant(client, template, cluster)
    path = f"tenants/{made['id']}"
    for act, state, reachable in (("suspend", "suspended", False), ("resume", "active", True)):
        response = client.post(f"{path}/{act}", {"reason": "because"})
        assert response.status_code == 200, response.content
        assert response.json()["state"] == state
        assert response["Operation"] == response.json()["operation"]["links"]["self"]
        assert can_connect(made["connection"]) is reachable
    deleted = client.delete(f"{path}?grace_days=3&reason=gone")
    assert deleted.status_code == 200
    assert deleted.json()["state"] == "deleted"
    assert deleted.json()["purge_after"] > deleted.json()["deleted_at"]
    assert not can_connect(made["connection"])
    assert client.post(f"{path}/undelete").json()["state"] == "active"
    assert can_connect(made["connection"])
    actions = AuditEvent.objects.filter(tenant_id=made["id"]).order_by("id").values_list("action", flat=True)
    wanted = [
        "tenant.create",
        "tenant.provision",
        "tenant.suspend",
        "tenant.resume",
        "tenant.delete",
        "tenant.undelete",
    ]
    assert list(actions) == wanted


def test_an_act_in_the_wrong_state_is_a_conflict_that_names_the_state(client, template, cluster):
    made = new_tenant(client, template, cluster)
    body = problem(client.post(f"tenants/{made['id']}/resume"), 409, "wrong_state")
    assert body["state"] == "active"
    assert "suspended" in body["hint"]


def test_purge_wants_the_slug_and_a_reason_and_a_worker_does_it(client, template, cluster):
    made = new_tenant(client, template, cluster)
    path = f"tenants/{made['id']}"
    client.delete(path)
    assert wrong_fields(client.post(f"{path}/purge", {})) == {"confirm_slug", "reason"}
    assert wrong_fields(client.post(f"{path}/purge", {"confirm_slug": "other", "reason": "r"})) == {"confirm_slug"}
    problem(client.post(f"{path}/purge", {"confirm_slug": made["slug"], "reason": "r"}), 409, "grace_period")
    assert wrong_fields(
        client.post(f"{path}/purge", {"confirm_slug": made["slug"], "reason": "r", "force": "true"})
    ) == {"force"}
    response = client.post(f"{path}/purge", {"confirm_slug": made["slug"], "reason": "asked for", "force": True})
    assert response.status_code == 202
    operations.work(response.json()["id"])
    assert client.get(path).json()["state"] == "purged"


def test_rotation_gives_a_second_login_while_the_first_still_works(client, template, cluster):
    made = new_tenant(client, template, cluster)
    response = client.post(f"tenants/{made['id']}/rotate-credentials", {"overlap_minutes": 10})
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    fresh = response.json()["connection"]
    assert fresh["user"] != made["connection"]["user"]
    assert can_connect(fresh)
    assert can_connect(made["connection"])
    problem(client.post(f"tenants/{made['id']}/rotate-credentials"), 409, "overlap_running")
    assert client.post(f"tenants/{made['id']}/rotate-credentials", {"overlap_minutes": 0}).status_code == 200
    assert not can_connect(fresh)


def test_patch_changes_what_it_names(client, template, cluster):
    made = new_tenant(client, template, cluster, labels={"a": "1"})
    path = f"tenants/{made['id']}"
    changed = client.patch(path, {"name": "New", "labels": {"b": "2"}})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["labels"]) == ("New", {"b": "2"})
    limited = client.patch(path, {"limits": {"connection_limit": 60}}).json()
    assert limited["effective_limits"]["connection_limit"] == 60
    assert limited["operation"]["kind"] == "tenant.update"
    assert wrong_fields(client.patch(path, {"slug": "other-slug"})) == {"slug"}
    problem(client.patch(path, {}), 400, "invalid")


def test_a_stale_etag_changes_nothing(client, template, cluster):
    made = new_tenant(client, template, cluster)
    path = f"tenants/{made['id']}"
    read = client.get(path)["ETag"]
    assert read.startswith('"')
    assert client.patch(path, {"name": "First"}, if_match=read).status_code == 200
    problem(client.patch(path, {"name": "Second"}, if_match=read), 412, "stale")
    assert client.get(path).json()["name"] == "First"
    now = client.get(path)["ETag"]
    assert client.patch(path, {"name": "Third"}, if_match=f'"x", {now}').status_code == 200
    assert client.patch(path, {"name": "Fourth"}, if_match="*").status_code == 200
    problem(client.patch(path, {"name": "Fifth"}, if_match=f"W/{client.get(path)['ETag']}"), 412, "stale")
    for malformed in ("abc", "", '"a" "b"', '"a'):
        body = problem(client.patch(path, {"name": "x"}, if_match=malformed), 400, "malformed_header")
        assert body["errors"][0]["field"] == "If-Match"
    assert client.get(path).json()["name"] == "Fourth"


def test_the_etag_also_changes_with_the_plans_limits(client, template, cluster, actor, source):
    from tenants.plans import create_plan, update_plan

    plan = create_plan(slug=fresh_slug("plan"), name="Own", actor=actor, source=source)
    made = new_tenant(client, template, cluster, plan=plan.slug)
    before = client.get(f"tenants/{made['id']}")
    update_plan(plan=plan, changes={"lock_timeout_ms": 1234}, actor=actor, source=source)
    after = client.get(f"tenants/{made['id']}")
    assert after.json()["effective_limits"]["lock_timeout_ms"] == 1234
    assert before["ETag"] != after["ETag"]


def test_what_the_caller_has_already_is_not_sent_again(client, template, cluster):
    made = new_tenant(client, template, cluster)
    path = f"tenants/{made['id']}"
    tag = client.get(path)["ETag"]
    again = client.get(path, if_none_match=f"W/{tag}")
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    client.patch(path, {"name": "Changed"})
    assert client.get(path, if_none_match=tag).status_code == 200


def test_creating_gives_the_etag_that_reading_gives(client, template, cluster):
    warm(cluster, template)
    response = client.post("tenants", {"name": "Tag", "slug": fresh_slug(), "template": "tiny"})
    assert response["ETag"] == client.get(response["Location"])["ETag"]


def test_a_taken_slug_is_a_conflict_and_makes_nothing(client, template, cluster):
    made = new_tenant(client, template, cluster)
    before = Tenant.objects.count(), Operation.objects.count()
    problem(client.post("tenants", {"name": "B", "slug": made["slug"]}), 409, "slug_taken")
    assert (Tenant.objects.count(), Operation.objects.count()) == before


def test_names_of_things_that_are_not_there(client, template, cluster):
    for field in ("plan", "template", "cluster"):
        response = client.post("tenants", {"name": "B", "slug": fresh_slug(), field: "no-such-thing"})
        assert wrong_fields(response) == {field}
    for path in (f"tenants/{uuid4()}", f"operations/{uuid4()}", "audit-events/0", "clusters/0", "tenants/x"):
        problem(client.get(path), 404, "not_found")
    problem(client.post(f"tenants/{uuid4()}/suspend"), 404, "not_found")


def test_a_waiting_operation_is_cancelled_and_tried_again(client, template, cluster):
    operation = client.post("tenants", {"name": "C", "slug": fresh_slug()}, prefer="respond-async").json()
    path = operation["links"]["self"]
    problem(client.post(f"{path}/retry"), 409, "operation_not_retryable")
    cancelled = client.post(f"{path}/cancel", {"reason": "no longer wanted"})
    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    problem(client.post(f"{path}/cancel"), 409, "operation_not_cancellable")
    again = client.post(f"{path}/retry")
    assert again.status_code == 202
    assert again.json()["retry_of"] == operation["id"]
    assert again["Location"] == again.json()["links"]["self"]
    operations.work(again.json()["id"])
    assert client.get(f"tenants/{operation['tenant']}").json()["state"] == "active"
    assert client.post(again.json()["links"]["credentials"]).status_code == 200


def test_a_second_operation_is_refused_with_the_id_of_the_first(client, template, cluster):
    first = client.post("tenants", {"name": "D", "slug": fresh_slug()}, prefer="respond-async").json()
    tenant = Tenant.objects.get(pk=first["tenant"])
    Tenant.objects.filter(pk=tenant.pk).update(state="active")
    body = problem(client.post(f"tenants/{tenant.pk}/suspend"), 409, "operation_in_progress")
    assert body["operation"] == first["id"]
    Tenant.objects.filter(pk=tenant.pk).update(state="provisioning")
    client.post(f"{first['links']['self']}/cancel")


def test_clusters_plans_and_templates_can_be_read(client, template, cluster, plan):
    own = client.get(f"clusters/{cluster.pk}").json()
    assert (own["name"], own["is_default"], own["server_version"]) == (cluster.name, True, cluster.server_version)
    # Others make clusters too: the default one may be on a later page of the list.
    assert all(set(one) == set(own) for one in client.get("clusters").json()["results"])
    assert next(p for p in client.every("plans") if p["slug"] == plan.slug)["limits"] == plan.limits()
    tiny = next(t for t in client.every("templates") if t["name"] == "tiny")
    version = tiny["versions"][0]
    assert set(version) == {"number", "fingerprints", "size", "extensions", "notes", "created_at"}
    assert (version["number"], version["fingerprints"]) == (template.number, template.fingerprints)
    assert "script" not in tiny["versions"][0]
