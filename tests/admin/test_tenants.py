"""Provisioning and the lifecycle through the admin's forms."""

from __future__ import annotations

import re
import time
from typing import Any

import psycopg
import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.models import Operation, Tenant
from tests.admin.support import events, form_errors, tenant_url, text_of, url
from tests.support.fixtures import fresh_slug

ADD = "tenants_tenant_add"


def answers(slug: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "Alpha Trading",
        "slug": slug,
        "plan": "standard",
        "template": "tiny",
        "cluster": "default",
        "labels": "",
    } | more


@pytest.fixture
def warm(cluster: Any, template: Any, plan: Any) -> None:
    """One slot that waits."""
    from provisioning import pool

    pool.fill_one(cluster, template, 10_000)


@pytest.fixture
def cold(template: Any, plan: Any) -> None:
    """No slot that waits."""
    from provisioning.models import SchemaSlot

    SchemaSlot.objects.filter(state="ready").update(state="retiring")


def password_in(response: Any) -> str:
    found = re.search(r'id="password" type="text" readonly value="([^"]+)"', response.content.decode())
    assert found
    return found.group(1)


def test_adding_a_tenant_shows_a_connection_that_works_and_only_there(browse: Any, warm: None) -> None:
    client, slug = browse("operator"), fresh_slug()
    response = client.post(url(ADD), answers(slug, labels="team=core\nregion=eu"))
    assert response.status_code == 200
    dsn = re.search(r'id="dsn" type="text" readonly value="([^"]+)"', response.content.decode())
    assert dsn
    with psycopg.connect(dsn.group(1)) as session:
        assert session.execute("SELECT count(*) FROM customers").fetchone() == (1,)
    tenant = Tenant.objects.get(slug=slug)
    assert (tenant.state, tenant.labels) == ("active", {"team": "core", "region": "eu"})

    password = password_in(response)
    assert "no-store" in response["Cache-Control"]
    assert "Location" not in response
    stored = [str(session.get_decoded()) for session in Session.objects.all()]
    assert not any(password in text for text in [*stored, str(client.cookies)])
    for page in (tenant_url(tenant), url("tenants_operation_change", tenant.operations.get().pk)):
        assert password not in client.get(page).content.decode()
    assert not any(password in str(row) for row in events("tenant.create", tenant_id=tenant.pk).values())


def test_provisioning_is_recorded_with_who_and_from_where(browse: Any, warm: None) -> None:
    client, slug = browse("operator"), fresh_slug()
    client.post(url(ADD), answers(slug), REMOTE_ADDR="192.0.2.7", headers={"X-Request-ID": "from-a-test-17"})
    event = events("tenant.create", tenant_slug=slug).get()
    assert (event.actor_kind, event.actor_label) == ("user", client.person.username)
    assert (event.channel, event.ip, event.request_id) == ("admin", "192.0.2.7", "from-a-test-17")


def test_a_cold_start_leads_to_the_operation_where_the_credentials_are_collected_once(browse: Any, cold: None) -> None:
    from tenants import operations

    client, slug = browse("operator"), fresh_slug()
    response = client.post(url(ADD), answers(slug))
    operation = Operation.objects.get(tenant__slug=slug)
    assert response.status_code == 302
    assert response["Location"] == url("tenants_operation_change", operation.pk)
    collect = url("tenants_tenant_credentials", operation.tenant_id, operation.pk)
    assert collect not in client.get(response["Location"]).content.decode()

    operations.work(operation.pk)
    assert collect in client.get(response["Location"]).content.decode()
    assert client.get(collect).status_code == 302, "looking at the address must reveal nothing"
    shown = client.post(collect)
    assert "no-store" in shown["Cache-Control"]
    assert password_in(shown)
    assert events("credentials.reveal", tenant_slug=slug).get().actor_label == client.person.username
    again = client.post(collect, follow=True)
    assert "handed out already" in text_of(again)
    assert password_in(shown) not in again.content.decode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "Not A Slug"}, "slug"),
        ({"slug": "admin"}, "slug"),
        ({"name": "bidi \u202e evil"}, "name"),
        ({"name": ""}, "name"),
        ({"plan": "gold"}, "plan"),
        ({"template": "nothing"}, "template"),
        ({"cluster": "elsewhere"}, "cluster"),
        ({"labels": "no equals sign"}, "labels"),
        ({"labels": "Bad Key=1"}, "labels"),
        ({"labels": "a=1\na=2"}, "labels"),
        ({"name": "nul\0byte"}, "name"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    browse: Any, template: Any, plan: Any, change: dict[str, str], field: str
) -> None:
    slug = fresh_slug()
    response = browse("operator").post(url(ADD), answers(slug) | change)
    assert response.status_code == 200
    assert set(form_errors(response)) == {field}
    assert not Tenant.objects.filter(slug=slug).exists()


def test_a_taken_slug_is_said_at_the_slug(browse: Any, tenant: Any) -> None:
    response = browse("operator").post(url(ADD), answers(tenant.slug))
    assert "taken" in form_errors(response)["slug"][0]


def test_a_cluster_that_is_down_is_said_at_the_cluster(browse: Any, template: Any, plan: Any, actor: Any) -> None:
    from tenants import secrets
    from tenants.models import Cluster

    name = fresh_slug("down")
    Cluster.objects.create(
        name=name, host="127.0.0.1", port=1, dbname="x", username="x", secret=secrets.encrypt("x"), state="disabled"
    )
    response = browse("operator").post(url(ADD), answers(fresh_slug(), cluster=name))
    assert set(form_errors(response)) == {"cluster"}


def test_suspend_and_resume_with_the_sessions_told_beforehand(browse: Any, tenant: Any) -> None:
    client = browse("operator")
    with psycopg.connect(tenant.connection.dsn) as connection:
        asked = client.get(tenant_url(tenant, "suspend"))
        assert "1 open session of its logins are ended" in text_of(asked)
        assert "Tables in the schema 2" in text_of(asked)
        done = client.post(tenant_url(tenant, "suspend"), {"reason": "unpaid"}, follow=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert "suspended" in text_of(done)
    assert "unpaid" in text_of(done)
    tenant.refresh_from_db()
    assert tenant.state == "suspended"
    client.post(tenant_url(tenant, "resume"), {"reason": ""})
    with psycopg.connect(tenant.connection.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"confirm_slug": "another", "reason": "gone"}, "confirm_slug"),
        ({"confirm_slug": None, "reason": ""}, "reason"),
        ({"confirm_slug": "", "reason": "gone"}, "confirm_slug"),
        ({"confirm_slug": None, "reason": "gone", "grace_days": "366"}, "grace_days"),
    ],
)
def test_deleting_needs_the_typed_slug_and_a_reason(
    browse: Any, tenant: Any, given: dict[str, Any], field: str
) -> None:
    sent = {key: tenant.slug if value is None else value for key, value in given.items()}
    response = browse("operator").post(tenant_url(tenant, "remove"), sent)
    assert set(form_errors(response)) == {field}
    tenant.refresh_from_db()
    assert tenant.state == "active"


def test_delete_says_what_will_happen_and_undelete_takes_it_back(browse: Any, tenant: Any) -> None:
    client = browse("operator")
    assert f"{tenant.plan.grace_days} days by its plan" in text_of(client.get(tenant_url(tenant, "remove")))
    client.post(tenant_url(tenant, "remove"), {"confirm_slug": tenant.slug, "reason": "gone"})
    tenant.refresh_from_db()
    assert tenant.state == "deleted"
    assert "purged for good after" in text_of(client.get(tenant_url(tenant)))
    client.post(tenant_url(tenant, "undelete"), {"reason": ""})
    with psycopg.connect(tenant.connection.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_purge_is_left_to_a_worker_and_leaves_a_history(browse: Any, tenant: Any) -> None:
    from tenants import operations

    client = browse("administrator")
    client.post(tenant_url(tenant, "remove"), {"confirm_slug": tenant.slug, "reason": "gone"})
    asked = text_of(client.get(tenant_url(tenant, "purge")))
    assert "its 2 tables" in asked
    assert "cuts it short" in asked
    wrong = client.post(tenant_url(tenant, "purge"), {"confirm_slug": "another", "reason": "gone"})
    assert set(form_errors(wrong)) == {"confirm_slug"}
    sent = client.post(tenant_url(tenant, "purge"), {"confirm_slug": tenant.slug, "reason": "gone for good"})
    operation = tenant.operations.get(kind="tenant.purge")
    assert sent["Location"] == url("tenants_operation_change", operation.pk)
    operations.work(operation.pk)
    page = client.get(tenant_url(tenant))
    assert "only its history is left" in text_of(page)
    assert "gone for good" in text_of(page)
    assert tenant_url(tenant, "remove") not in page.content.decode()


def test_rotation_shows_the_new_login_once_and_keeps_the_old_one(browse: Any, tenant: Any) -> None:
    client = browse("operator")
    response = client.post(tenant_url(tenant, "rotate"), {"overlap_minutes": "", "reason": "leaver"})
    new = re.search(r'id="dsn" type="text" readonly value="([^"]+)"', response.content.decode())
    assert new
    for dsn in (new.group(1), tenant.connection.dsn):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    again = client.post(tenant_url(tenant, "rotate"), {"overlap_minutes": "30", "reason": ""})
    assert "still open" in form_errors(again)["__all__"][0]


def test_editing_applies_limits_and_refuses_what_somebody_else_changed_meanwhile(browse: Any, tenant: Any) -> None:
    client = browse("operator")
    before = client.get(tenant_url(tenant, "edit")).context["form"]
    sent = {name: before[name].value() if before[name].value() is not None else "" for name in before.fields}
    sent |= {"labels": "team=core", "connection_limit": "77", "storage_quota_bytes": "2048"}
    assert client.post(tenant_url(tenant, "edit"), sent).status_code == 302
    tenant.refresh_from_db()
    assert tenant.limits == {"connection_limit": 77, "storage_quota_bytes": 2048 * 1024**2}
    assert tenant.labels == {"team": "core"}
    with psycopg.connect(tenant.connection.dsn) as connection:
        limit = connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
        assert limit == (77,)
    stale = client.post(tenant_url(tenant, "edit"), sent | {"name": "Other"})
    assert "changed since you read it" in form_errors(stale)["__all__"][0]
    too_many = client.post(tenant_url(tenant, "edit"), sent | {"connection_limit": "501"})
    assert set(form_errors(too_many)) == {"connection_limit"}


def test_an_act_that_the_state_does_not_allow_is_refused(browse: Any, tenant: Any) -> None:
    client = browse("administrator")
    for act in ("resume", "undelete", "purge"):
        response = client.post(tenant_url(tenant, act), {"confirm_slug": tenant.slug, "reason": "x"}, follow=True)
        assert "cannot be asked to" in text_of(response)
    tenant.refresh_from_db()
    assert tenant.state == "active"


def test_bulk_suspend_asks_first_then_tells_each_result(browse: Any, make_tenant: Any) -> None:
    client = browse("operator")
    one, two = make_tenant(), make_tenant()
    client.post(tenant_url(two, "suspend"), {"reason": ""})
    chosen = {"action": "suspend_selected", "_selected_action": [str(one.pk), str(two.pk)]}
    asked = client.post(url("tenants_tenant_changelist"), chosen)
    assert "Suspend 1 of 2 selected tenants" in text_of(asked)
    one.refresh_from_db()
    assert one.state == "active"
    done = text_of(client.post(url("tenants_tenant_changelist"), chosen | {"confirmed": "yes", "reason": "audit"}))
    assert "Suspend: 1 of 2 done" in done
    assert "cannot be suspended" in done
    one.refresh_from_db()
    assert (one.state, one.state_reason) == ("suspended", "audit")
    chosen["action"] = "resume_selected"
    done = text_of(client.post(url("tenants_tenant_changelist"), chosen | {"confirmed": "yes", "reason": ""}))
    assert "Resume: 2 of 2 done" in done


def test_the_list_finds_by_name_slug_schema_and_id(browse: Any, make_tenant: Any) -> None:
    client = browse("viewer")
    wanted, other = make_tenant(), make_tenant()
    page = url("tenants_tenant_changelist")
    for term in (wanted.name, wanted.slug, wanted.schema_name, str(wanted.pk)):
        found = client.get(page, {"q": term}).content.decode()
        assert wanted.slug in found
        assert other.slug not in found
    for term in ("'; DROP TABLE tenants_tenant; --", "%", "nul\0", "ü" * 500):
        assert client.get(page, {"q": term}).status_code == 200


def test_when_the_cluster_does_not_answer_the_pages_say_so_and_lead_to_the_operation(browse: Any, tenant: Any) -> None:
    from tenants import secrets
    from tenants.models import Cluster

    own = tenant.cluster
    away = Cluster.objects.create(
        name=fresh_slug("away"), host="127.0.0.1", port=1, dbname="x", username="x", secret=secrets.encrypt("x")
    )
    Tenant.objects.filter(pk=tenant.pk).update(cluster=away)
    client = browse("operator")
    begun = time.monotonic()
    asked = client.get(tenant_url(tenant, "suspend"))
    assert "cannot be read now" in text_of(asked)
    assert time.monotonic() - begun < 8
    done = client.post(tenant_url(tenant, "suspend"), {"reason": ""})
    operation = tenant.operations.get(kind="tenant.suspend")
    assert done["Location"] == url("tenants_operation_change", operation.pk)
    page = text_of(client.get(done["Location"]))
    assert re.search(r"cluster_(unavailable|busy)", page)
    assert "tried again by itself" in page
    busy = client.get(tenant_url(tenant)).content.decode()
    assert 'id="operation-progress"' in busy
    assert tenant_url(tenant, "remove") not in busy
    Tenant.objects.filter(pk=tenant.pk).update(cluster=own)
    Operation.objects.filter(pk=operation.pk).update(state="failed", cluster=own)
    away.state = "disabled"
    away.save()


@pytest.mark.parametrize("view", ["tenants_tenant", "tenants_operation", "provisioning_schemaslot"])
def test_the_queries_of_a_list_do_not_grow_with_it(browse: Any, make_tenant: Any, view: str) -> None:
    client = browse("viewer")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url(f"{view}_changelist")).status_code == 200
        return len(captured)

    make_tenant()
    queries()  # a session's first request writes down when it began
    first = queries()
    make_tenant()
    make_tenant()
    assert queries() == first


def test_nothing_of_djangos_own_editing_is_left(browse: Any, tenant: Any) -> None:
    client = browse("administrator")
    assert client.get(url("tenants_tenant_delete", tenant.pk)).status_code == 403
    assert client.get(url("tenants_tenant_history", tenant.pk)).status_code == 404
    client.post(tenant_url(tenant), {"name": "Stolen", "state": "purged"})
    tenant.refresh_from_db()
    assert (tenant.name, tenant.state) != ("Stolen", "purged")
    chosen = {"action": "delete_selected", "_selected_action": [str(tenant.pk)], "post": "yes"}
    client.post(url("tenants_tenant_changelist"), chosen)
    assert Tenant.objects.filter(pk=tenant.pk).exists()
