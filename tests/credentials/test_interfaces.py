"""The same by REST, by commands and in the admin."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from tenants.models import AuditEvent, Operation, Plan, TenantRole
from tests.admin.conftest import browse, groups, make_tenant, person  # noqa: F401  (fixtures)
from tests.admin.support import tenant_url, text_of, url
from tests.provisioning.support import can_log_in, provision
from tests.rest.support import problem, wrong_fields

BODY = {"owner": "Ada", "reason": "ticket 4711"}


def gets_in(connection: dict[str, Any]) -> bool:
    try:
        psycopg.connect(connection["dsn"], connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def test_an_additional_login_by_rest(api_client: Any, template: Any) -> None:
    made, client = provision(template), api_client()
    path = f"tenants/{made.tenant.pk}/credentials"
    answer = client.post(path, {**BODY, "minutes": 5})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    issued = answer.json()
    assert gets_in(issued["connection"])
    assert (issued["access"], issued["owner"], issued["closed_at"]) == ("read_only", "Ada", None)
    listed = client.get(path).json()
    assert [login["state"] for login in listed["logins"]] == ["active", "off"]
    assert [row["id"] for row in listed["additional"]] == [issued["id"]]
    assert "password" not in str(listed)
    other = provision(template).tenant
    problem(client.delete(f"tenants/{other.pk}/credentials/{issued['id']}"), 404, "not_found")
    closed = client.delete(f"{path}/{issued['id']}?reason=done")
    assert (closed.status_code, closed.json()["closed_because"]) == (200, "done")
    assert not gets_in(issued["connection"])


@pytest.mark.parametrize(
    ("body", "field"),
    [({"owner": ""}, "owner"), ({"reason": ""}, "reason"), ({"minutes": 0}, "minutes"), ({"access": "x"}, "access"),
     ({"minutes": 129_601}, "minutes"), ({"password": "mine"}, "password"), ({"minutes": "5"}, "minutes")],
)  # fmt: skip
def test_bad_bodies(api_client: Any, template: Any, body: dict[str, Any], field: str) -> None:
    made = provision(template)
    answer = api_client().post(f"tenants/{made.tenant.pk}/credentials", {**BODY, **body})
    assert wrong_fields(answer) == {field}
    assert not made.tenant.credentials.exists()


def test_what_is_stored_is_shown_for_a_reason(api_client: Any, template: Any) -> None:
    made, client = provision(template), api_client()
    path = f"tenants/{made.tenant.pk}/reveal-credentials"
    assert wrong_fields(client.post(path)) == {"reason"}
    assert wrong_fields(client.post(path, {"reason": ""})) == {"reason"}
    answer = client.post(path, {"reason": "lost"})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    assert answer.json()["password"] == made.connection.password
    event = AuditEvent.objects.get(request_id=answer["X-Request-ID"], action="credentials.reveal")
    assert (event.reason, event.after["login"]) == ("lost", made.connection.user)
    assert made.connection.password not in str(AuditEvent.objects.filter(pk=event.pk).values())


def test_a_rotation_by_policy_is_collected_by_rest(api_client: Any, template: Any) -> None:
    from provisioning import services
    from tenants.actors import BEAT, SYSTEM

    made, client = provision(template), api_client()
    services.rotate_by_policy(tenant_id=made.tenant.pk, actor=SYSTEM, source=BEAT)
    operation = Operation.objects.get(tenant=made.tenant, kind="credentials.rotate")
    shown = client.get(f"operations/{operation.pk}").json()
    assert shown["links"]["credentials"]
    assert client.get(f"tenants/{made.tenant.pk}/credentials").json()["logins"][1]["collected_at"] is None
    assert gets_in(client.post(shown["links"]["credentials"]).json())
    assert client.get(f"operations/{operation.pk}").json()["links"]["credentials"] is None
    problem(client.post(shown["links"]["credentials"]), 410, "already_collected")


def test_an_emergency_by_rest(api_client: Any, template: Any) -> None:
    made, client = provision(template), api_client()
    path = f"tenants/{made.tenant.pk}/rotate-credentials"
    assert wrong_fields(client.post(path, {"emergency": True})) == {"reason"}
    answer = client.post(path, {"emergency": True, "reason": "leaked"})
    assert gets_in(answer.json()["connection"])
    assert not can_log_in(made.connection)


def test_in_the_admin(browse: Any, make_tenant: Any) -> None:  # noqa: F811
    tenant, client = make_tenant(), browse("administrator")
    assert "reason" in client.post(tenant_url(tenant, "reveal"), {"reason": ""}).context["form"].errors
    answer = client.post(tenant_url(tenant, "reveal"), {"reason": "lost"})
    assert tenant.connection.password in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    sent = {**BODY, "access": "read_only", "minutes": "10"}
    answer = client.post(tenant_url(tenant, "lend"), sent)
    dsn = re.search(r"postgresql://[^\s\"&]+_ro_[^\s\"&]+", answer.content.decode())
    assert dsn is not None
    assert gets_in({"dsn": dsn.group()})
    row = tenant.credentials.get()
    page = text_of(client.get(tenant_url(tenant)))
    assert row.login in page
    assert "ticket 4711" in page
    client.post(url("tenants_tenant_close_login", tenant.pk, row.pk))
    assert not gets_in({"dsn": dsn.group()})
    client.get(tenant_url(tenant))  # says once that it is gone
    assert row.login not in text_of(client.get(tenant_url(tenant)))


def test_who_has_not_just_shown_who_they_are_sees_nothing(browse: Any, make_tenant: Any) -> None:  # noqa: F811
    tenant, client = make_tenant(), browse("administrator")
    session = client.session
    session["confirmed_at"] = 0
    session.save()
    for page in ("reveal", "lend"):
        answer = client.post(tenant_url(tenant, page), {**BODY, "access": "read_only", "minutes": "10"})
        assert answer.status_code == 302
        assert "/confirm/" in answer["Location"]
    answer = client.post(f"/api/v1/tenants/{tenant.pk}/reveal-credentials", {"reason": "x"}, "application/json")
    problem(answer, 403, "confirmation_required")
    assert not AuditEvent.objects.filter(tenant_id=tenant.pk, action="credentials.reveal").exists()
    assert not tenant.credentials.exists()


def test_the_page_tells_when_the_old_login_was_last_seen(browse: Any, make_tenant: Any) -> None:  # noqa: F811
    tenant, client = make_tenant(), browse("administrator")
    client.post(tenant_url(tenant, "rotate"), {"reason": "", "overlap_minutes": ""})
    assert "not seen since" in text_of(client.get(tenant_url(tenant)))
    TenantRole.objects.filter(tenant=tenant, state="retiring").update(last_seen_at=timezone.now())
    assert "last seen" in text_of(client.get(tenant_url(tenant)))


def test_a_plans_ages_are_set_in_the_admin_and_told_by_rest(browse: Any, api_client: Any) -> None:  # noqa: F811
    plan = Plan.objects.get(is_default=True)
    told = next(row for row in api_client().every("plans") if row["slug"] == plan.slug)
    assert told["limits"]["rotation_max_age_days"] == plan.rotation_max_age_days
    assert told["rotation_deadline_days"] == plan.rotation_deadline_days
    assert "Rotation by itself" in text_of(browse("viewer").get(url("tenants_plan_change", plan.pk)))
