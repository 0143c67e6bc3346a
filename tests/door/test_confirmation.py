"""Dangerous acts ask again who one is."""

from __future__ import annotations

import time

import pytest
from django.urls import reverse

from tenants.models import AuditEvent, Tenant
from tests.admin.conftest import make_tenant, tenant  # noqa: F401
from tests.admin.support import tenant_url, url
from tests.door.conftest import PASSWORD
from tests.pooling.conftest import front_of_18  # noqa: F401


@pytest.fixture
def boss(visitor):
    """An administrator who signed in six minutes ago."""
    found = visitor("administrator")
    found.sign_in()
    age(found)
    return found


def age(person, seconds=301):
    session = person.http.session
    session["confirmed_at"] = time.time() - seconds
    session.save()


def asked(answer):
    return answer.status_code == 302 and answer.url.startswith(reverse("admin:confirm"))


@pytest.mark.parametrize("act", ["rotate", "remove"])
def test_acts_ask_first_and_do_nothing_until_then(boss, tenant, act):  # noqa: F811
    path = tenant_url(tenant, act)
    assert asked(boss.http.get(path))
    form = {"confirm_slug": tenant.slug, "reason": "tests"}
    assert asked(boss.http.post(path, form))
    assert not AuditEvent.objects.filter(tenant_id=tenant.pk, action__in=["tenant.delete", "credentials.rotate"])
    confirm = boss.http.post(reverse("admin:confirm"), {"password": PASSWORD, "next": path})
    assert confirm.url == path
    assert boss.http.get(path).status_code == 200
    age(boss, 290)
    boss.http.post(path, form)
    assert AuditEvent.objects.filter(tenant_id=tenant.pk, actor_label=boss.user.username).exists()


def test_acts_that_can_be_taken_back_do_not_ask(boss, tenant):  # noqa: F811
    assert boss.http.get(tenant_url(tenant, "suspend")).status_code == 200


@pytest.mark.parametrize(
    "page", ["tenants_apikey_add", "auth_user_add", "door_signinpolicy_add", "tenants_auditevent_export"]
)
def test_keys_people_policies_and_exports_ask(boss, page):
    assert asked(boss.http.get(url(page)))


@pytest.mark.parametrize("page", ["prepare", "pooler", "direct"])
def test_what_changes_a_clusters_doors_asks(boss, front18, page):
    pooler = front18.pooler
    path = url(f"tenants_cluster_{page}", front18.cluster.pk)
    assert asked(boss.http.get(path))
    assert asked(boss.http.post(path, {"level": "baseline", "door": "closed"}))
    assert asked(boss.http.post(url("tenants_cluster_pooler_remove", front18.cluster.pk)))
    front18.cluster.refresh_from_db()
    assert (front18.pooler.pk, front18.pooler.direct_wanted) == (pooler.pk, "open")
    assert front18.cluster.isolation_wanted == "baseline"


def test_a_migrator_asks_in_the_admin_and_in_rest(boss, tenant):  # noqa: F811
    assert asked(boss.http.get(tenant_url(tenant, "migrator")))
    answer = boss.http.post(f"/api/v1/tenants/{tenant.pk}/migrator", {"reason": "x"}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "confirmation_required")
    assert not tenant.migrator_windows.exists()


def test_restores_ask_in_rest(boss, tenant):  # noqa: F811
    """Whatever the backup: it is asked before anything is looked up."""
    path = f"/api/v1/backups/{tenant.pk}/restore"
    for door in (
        path,
        f"/api/v1/tenants/{tenant.pk}/restore",
        "/api/v1/kept-schemas/0/undo",
        "/api/v1/kept-schemas/0/confirm",
    ):
        answer = boss.http.post(door, {}, "application/json")
        assert (answer.status_code, answer.json()["code"]) == (403, "confirmation_required"), door
    age(boss, 10)
    assert boss.http.post(path, {"target": "same", "dry_run": True}, "application/json").status_code == 404


def test_setting_somebodys_password_asks(boss):
    assert asked(boss.http.get(url("auth_user_password_change", boss.user.pk)))


def test_the_session_in_rest_is_no_way_around(boss, tenant):  # noqa: F811
    path = f"/api/v1/tenants/{tenant.pk}"
    for answer in (boss.http.delete(path), boss.http.post(f"{path}/rotate-credentials", {}, "application/json")):
        assert answer.status_code == 403
        assert answer.json()["code"] == "confirmation_required"
    assert Tenant.objects.get(pk=tenant.pk).state == "active"
    age(boss, 10)
    assert boss.http.delete(path, content_type="application/json").status_code == 200


def test_a_wrong_password_confirms_nothing_and_counts(boss):
    for _ in range(5):
        assert "not your password" in boss.http.post(reverse("admin:confirm"), {"password": "x"}).content.decode()
    locked = boss.http.post(reverse("admin:confirm"), {"password": PASSWORD})
    assert "Too many failed attempts" in locked.content.decode()


def test_who_has_an_app_needs_its_code_as_well(visitor):
    alice = visitor("administrator")
    alice.sign_in()
    app, _ = alice.enrol()
    age(alice)
    confirm = reverse("admin:confirm")
    assert alice.http.post(confirm, {"password": PASSWORD}).status_code == 200
    assert alice.http.post(confirm, {"password": PASSWORD, "code": "000000"}).status_code == 200
    later = app.at(int(time.time()) + 30)
    assert alice.http.post(confirm, {"password": PASSWORD, "code": later}).status_code == 302


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil"])
def test_it_leads_nowhere_else(boss, elsewhere):
    answer = boss.http.post(reverse("admin:confirm"), {"password": PASSWORD, "next": elsewhere})
    assert answer.url == reverse("admin:index")


def test_confirming_is_recorded(boss):
    boss.http.post(reverse("admin:confirm"), {"password": PASSWORD})
    assert AuditEvent.objects.filter(action="session.confirm", target_id=str(boss.user.pk)).exists()
