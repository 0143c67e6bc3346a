"""Logins, accounts, plans, clusters and keys: what the admin changes stands in the audit log, without secrets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from tenants.api_keys import find_api_key
from tenants.models import ApiKey, AuditEvent, Cluster, Plan
from tests.admin.support import PASSWORD, events, form_errors, text_of, url
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

LOGIN = "/admin/login/"


def plan_answers(**more: Any) -> dict[str, Any]:
    return {
        "slug": fresh_slug("plan"),
        "name": "Large",
        "isolation_tier": "schema",
        "connection_limit": "200",
        "pool_size": "40",
        "client_limit": "400",
        "statement_timeout_ms": "30000",
        "idle_in_transaction_timeout_ms": "30000",
        "lock_timeout_ms": "5000",
        "temp_file_limit_kb": "256",
        "storage_quota_bytes": "1024",
        "rotation_max_age_days": "0",
        "rotation_jitter_days": "7",
        "rotation_overlap_minutes": "60",
        "rotation_deadline_days": "30",
        "grace_days": "7",
    } | more


def test_logins_failed_logins_and_logouts_are_recorded(person: Any) -> None:
    user, client = person("viewer", password=PASSWORD), Client()
    client.post(LOGIN, {"username": user.username, "password": "wrong"}, REMOTE_ADDR="192.0.2.1")
    client.post(LOGIN, {"username": user.username, "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")
    client.post("/admin/logout/", REMOTE_ADDR="192.0.2.1")
    found = AuditEvent.objects.filter(actor_id=str(user.pk), action__startswith="login.").order_by("id")
    assert [(e.action, e.outcome, e.ip) for e in found] == [
        ("login.failure", "denied", "192.0.2.1"),
        ("login.success", "success", "192.0.2.1"),
        ("login.logout", "success", "192.0.2.1"),
    ]


def test_what_was_typed_as_a_name_is_not_kept_unless_it_is_one() -> None:
    typed = fresh_slug("a-password-in-the-wrong-field")
    Client().post(LOGIN, {"username": typed, "password": "x"}, headers={"X-Request-ID": typed[-20:]})
    event = events("login.failure", request_id=typed[-20:]).get()
    assert event.actor_label == "unknown user"
    assert typed not in str({key: value for key, value in vars(event).items() if key != "request_id"})


def test_people_who_are_not_staff_are_turned_away_on_record(person: Any) -> None:
    user = person(is_staff=False, password=PASSWORD)
    response = Client().post(LOGIN, {"username": user.username, "password": PASSWORD})
    assert response.status_code == 200
    assert events("login.failure", actor_id=str(user.pk)).get().reason == "Not a member of staff."


def test_accounts_are_changed_on_record_and_without_their_passwords(browse: Any, groups: Any) -> None:
    client, name = browse("administrator"), fresh_slug("person")
    new = {"username": name, "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    response = client.post(url("auth_user_add"), new)
    assert response.status_code == 302, form_of(response)
    from django.contrib.auth.models import User

    user = User.objects.get(username=name)
    change = {"username": name, "is_active": "on", "is_staff": "on", "groups": [groups["operator"].pk]}
    assert client.post(url("auth_user_change", user.pk), change).status_code == 302
    event = events("user.update", target_id=str(user.pk)).get()
    assert event.actor_label == client.person.username
    assert (event.before["groups"], event.after["groups"]) == ([], ["operator"])
    fresh = {"password1": f"{PASSWORD} 2", "password2": f"{PASSWORD} 2", "usable_password": "true"}
    client.post(url("auth_user_password_change", user.pk), fresh)
    assert events("user.set_password", target_id=str(user.pk)).exists()
    client.post(url("auth_user_delete", user.pk), {"post": "yes"})
    assert not User.objects.filter(pk=user.pk).exists()
    about = str(list(AuditEvent.objects.filter(target_id=str(user.pk), target_type="user").values()))
    assert events("user.delete", target_id=str(user.pk)).exists()
    assert PASSWORD not in about
    assert "pbkdf2" not in about


def form_of(response: Any) -> Any:
    return response.context["adminform"].form.errors if response.context else None


def test_an_api_key_is_shown_once_works_and_is_revoked(browse: Any) -> None:
    client, name = browse("administrator"), fresh_slug("key")
    response = client.post(url("tenants_apikey_add"), {"name": name, "scopes": ["tenants:read", "plans:read"]})
    key = re.search(r"cp_[0-9a-f]{10}_[\w-]{43}", response.content.decode())
    assert key
    assert "no-store" in response["Cache-Control"]
    row = ApiKey.objects.get(name=name)
    assert row.scopes == ["plans:read", "tenants:read"]
    assert find_api_key(key.group()) == row
    for page in (url("tenants_apikey_change", row.pk), url("tenants_apikey_changelist")):
        assert key.group()[14:] not in client.get(page).content.decode()
    client.post(url("tenants_apikey_revoke", row.pk), {"reason": "lost"})
    assert find_api_key(key.group()) is None
    event = events("api_key.revoke", target_id=str(row.pk)).get()
    assert (event.actor_label, event.reason) == (client.person.username, "lost")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"expires_at": "2001-01-01T00:00"}, "expires_at"),
        ({"name": "a\u200bb"}, "name"),
    ],
)
def test_a_bad_key_is_said_at_its_field(browse: Any, given: dict[str, Any], field: str) -> None:
    count = ApiKey.objects.count()
    sent = {"name": fresh_slug("key"), "scopes": ["tenants:read"]} | given
    assert set(form_errors(browse("administrator").post(url("tenants_apikey_add"), sent))) == {field}
    assert ApiKey.objects.count() == count


def test_a_plan_is_made_and_changed_on_record_and_reaches_its_tenants(browse: Any, make_tenant: Any) -> None:
    import psycopg

    from tenants import operations

    client, answers = browse("administrator"), plan_answers()
    client.post(url("tenants_plan_add"), answers)
    plan = Plan.objects.get(slug=answers["slug"])
    assert plan.storage_quota_bytes == 1024 * 1024**2
    tenant = make_tenant(plan=plan.slug)
    asked = client.get(url("tenants_plan_edit", plan.pk))
    assert "1 tenant is on this plan" in text_of(asked)
    client.post(url("tenants_plan_edit", plan.pk), answers | {"connection_limit": "300"})
    event = events("plan.update", target_id=str(plan.pk)).get()
    assert (event.before, event.after) == ({"connection_limit": 200}, {"connection_limit": 300})
    operations.work()
    with psycopg.connect(tenant.connection.dsn) as connection:
        limit = connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
    assert limit == (300,)
    client.post(url("tenants_plan_edit", plan.pk), answers | {"connection_limit": "300"})
    assert events("plan.update", target_id=str(plan.pk)).count() == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"connection_limit": "501"}, "connection_limit"),
        ({"connection_limit": "49"}, "connection_limit"),
        ({"slug": "Bad Slug"}, "slug"),
        ({"slug": "standard"}, "slug"),
        ({"name": " "}, "name"),
        ({"grace_days": "-1"}, "grace_days"),
        ({"storage_quota_bytes": "0"}, "storage_quota_bytes"),
    ],
)
def test_a_bad_plan_is_said_at_its_field(browse: Any, plan: Any, given: dict[str, str], field: str) -> None:
    count = Plan.objects.count()
    response = browse("administrator").post(url("tenants_plan_add"), plan_answers() | given)
    assert set(form_errors(response)) == {field}
    assert Plan.objects.count() == count


def test_there_is_always_one_default_plan(actor: Any, source: Any, plan: Any) -> None:
    from tenants.exceptions import InvalidInput
    from tenants.plans import create_plan, update_plan

    other = create_plan(slug=fresh_slug("plan"), name="Other", is_default=True, actor=ACTOR, source=SOURCE)
    assert list(Plan.objects.filter(is_default=True)) == [other]
    with pytest.raises(InvalidInput):
        update_plan(plan=other, changes={"is_default": False}, actor=ACTOR, source=SOURCE)
    update_plan(plan=plan, changes={"is_default": True}, actor=ACTOR, source=SOURCE)
    assert list(Plan.objects.filter(is_default=True)) == [plan]


def own_address() -> dict[str, Any]:
    own = settings.DATABASES["default"]
    return {"host": own["HOST"], "port": str(own["PORT"]), "dbname": own["NAME"], "username": own["USER"]}


def cluster_answers(**more: Any) -> dict[str, Any]:
    base = {"name": fresh_slug("c"), "sslmode": "prefer", "pool_target": "0", "max_parallel": "2", "password": "wrong"}
    return base | own_address() | more


def test_a_cluster_that_cannot_be_used_is_refused_with_the_reason(browse: Any, cluster: Any) -> None:
    client, count = browse("administrator"), Cluster.objects.count()
    nobody_there = client.post(url("tenants_cluster_add"), cluster_answers(port="1"))
    assert form_errors(nobody_there)["__all__"]
    wrong = client.post(url("tenants_cluster_add"), cluster_answers())
    assert form_errors(wrong)["__all__"]
    known = cluster_answers(password=settings.DATABASES["default"]["PASSWORD"])
    response = client.post(url("tenants_cluster_add"), known)
    assert "registered already" in form_errors(response)["dbname"][0]
    assert known["password"] not in response.content.decode(), "a password is never sent back"
    assert Cluster.objects.count() == count


def test_a_cluster_is_registered_changed_and_checked_on_record(browse: Any, cluster: Any) -> None:
    from psycopg import sql

    from tests.support.databases import PREFIX, maintenance

    client = browse("administrator")
    database = f"{PREFIX}_{fresh_slug('extra').replace('-', '_')}"
    with maintenance() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    answers = cluster_answers(dbname=database, password=settings.DATABASES["default"]["PASSWORD"])
    response = client.post(url("tenants_cluster_add"), answers)
    assert response.status_code == 302, form_errors(response)
    row = Cluster.objects.get(name=answers["name"])
    page = client.get(response["Location"]).content.decode()
    assert database in page
    assert answers["password"] not in page
    assert row.secret not in page

    change = {"description": "", "state": "disabled", "pool_target": "0", "max_parallel": "3"}
    client.post(url("tenants_cluster_edit", row.pk), change)
    event = events("cluster.update", target_id=str(row.pk)).get()
    assert event.after == {"state": "disabled", "max_parallel": 3}
    checked = client.post(url("tenants_cluster_check", row.pk), follow=True)
    assert "is well" in text_of(checked)
    assert events("cluster.check", target_id=str(row.pk)).get().outcome == "success"
    Cluster.objects.filter(pk=row.pk).update(port=1)
    checked = client.post(url("tenants_cluster_check", row.pk), follow=True)
    assert "The last check failed" in text_of(checked)
    row.delete()


def test_filling_a_pool_asks_the_workers_on_record(browse: Any, template: Any) -> None:
    client = browse("operator")
    response = client.post(url("provisioning_template_fill", template.template_id), follow=True)
    assert "workers fill the pools" in text_of(response)
    assert events("pool.fill", actor_id=str(client.person.pk)).exists()


def test_schedules_are_run_and_switched_only_by_who_may_change_them(browse: Any, groups: Any) -> None:
    from django.contrib.auth.models import Permission
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    task = PeriodicTask.objects.create(name=fresh_slug("task"), task="tenants.check_clusters", interval=every)
    looker = browse("")
    looker.person.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    page = url("django_celery_beat_periodictask_changelist")
    chosen = {"action": "disable_tasks", "_selected_action": str(task.pk)}
    looker.post(page, chosen)
    task.refresh_from_db()
    assert task.enabled
    browse("administrator").post(page, chosen)
    task.refresh_from_db()
    assert not task.enabled
