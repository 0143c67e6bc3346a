"""With PURGE_NEEDS_APPROVAL a purge waits for a second person, through every door."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from provisioning import maintenance, services
from provisioning.models import PurgeRequest
from tenants import plans
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, PermissionRefused
from tenants.models import AuditEvent, Tenant
from tests.admin.conftest import make_tenant, tenant  # noqa: F401
from tests.admin.support import tenant_url, url
from tests.commands.support import call, refusal
from tests.rest.support import problem
from tests.support.fixtures import fresh_slug

ANN, BEN = Actor("user", "900001", "ann-of-approvals"), Actor("user", "900002", "ben-of-approvals")
HERE = Source(channel="admin", request_id="tests")


@pytest.fixture(autouse=True)
def _two_persons(settings):
    settings.PURGE_NEEDS_APPROVAL = True


@pytest.fixture
def asked(tenant):  # noqa: F811
    """A request by Ann for a tenant that still is active."""
    services.purge_tenant(
        tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="gone", force=True, actor=ANN, source=HERE
    )
    return PurgeRequest.objects.get(tenant=tenant)


def state(row):
    return Tenant.objects.get(pk=row.tenant_id).state


def test_nothing_happens_until_somebody_else_approves(asked):
    assert state(asked) == "active"
    assert not asked.tenant.operations.filter(kind__in=["tenant.purge", "tenant.delete"]).exists()
    done = services.approve_purge(request_id=asked.pk, actor=BEN, source=HERE)
    assert done.operation.kind == "tenant.purge"
    asked.refresh_from_db()
    assert (asked.state, asked.decided_by) == ("approved", BEN.label)
    actions = AuditEvent.objects.filter(target_id=str(asked.pk)).values_list("action", "actor_label")
    assert set(actions) == {("purge.request", ANN.label), ("purge.approve", BEN.label)}


def test_nobody_approves_what_they_asked_for(asked):
    with pytest.raises(PermissionRefused, match="Somebody else"):
        services.approve_purge(request_id=asked.pk, actor=ANN, source=HERE)
    assert state(asked) == "active"


def test_nor_with_a_key_that_they_have_made(asked, api_client):
    from tenants.models import ApiKey

    client = api_client("purges:approve")
    ApiKey.objects.filter(pk=client.row.pk).update(created_by=ANN.label)
    problem(client.post(f"purge-requests/{asked.pk}/approve"), 403, "own_request")
    assert state(asked) == "active"


def test_a_second_approval_starts_no_second_purge(asked):
    services.approve_purge(request_id=asked.pk, actor=BEN, source=HERE)
    with pytest.raises(Conflict, match="waits no more"):
        services.approve_purge(request_id=asked.pk, actor=BEN, source=HERE)
    assert asked.tenant.operations.filter(kind="tenant.purge").count() == 1


def test_a_rejected_request_cannot_be_approved_and_another_can_be_made(asked):
    services.reject_purge(request_id=asked.pk, reason="no", actor=BEN, source=HERE)
    with pytest.raises(Conflict):
        services.approve_purge(request_id=asked.pk, actor=BEN, source=HERE)
    again = {"tenant_id": asked.tenant_id, "confirm_slug": asked.tenant.slug, "reason": "really", "force": True}
    services.purge_tenant(**again, actor=ANN, source=HERE)
    with pytest.raises(Conflict, match="waits for approval already"):
        services.purge_tenant(**again, actor=BEN, source=HERE)


def test_it_expires(asked):
    PurgeRequest.objects.filter(pk=asked.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Conflict):
        services.approve_purge(request_id=asked.pk, actor=BEN, source=HERE)
    services.expire_requests()
    asked.refresh_from_db()
    assert asked.state == "expired"
    assert AuditEvent.objects.filter(action="purge.expire", target_id=str(asked.pk)).exists()


def test_beat_asks_too_and_who_deleted_is_not_the_second_person(tenant):  # noqa: F811
    services.delete_tenant(tenant_id=tenant.pk, grace_days=0, actor=ANN, source=HERE)
    maintenance.purge_due()
    maintenance.purge_due()
    row = PurgeRequest.objects.get(tenant=tenant)
    assert state(row) == "deleted"
    with pytest.raises(PermissionRefused):
        services.approve_purge(request_id=row.pk, actor=ANN, source=HERE)
    assert services.approve_purge(request_id=row.pk, actor=BEN, source=HERE).operation is not None


def test_rest(tenant, api_client):  # noqa: F811
    asking, other = api_client("tenants:write", "tenants:read"), api_client("purges:approve", "tenants:read")
    from tenants.models import ApiKey

    ApiKey.objects.filter(pk=other.row.pk).update(created_by="somebody else")
    body = {"confirm_slug": tenant.slug, "reason": "gone", "force": True}
    waiting = asking.post(f"tenants/{tenant.pk}/purge", body)
    assert waiting.status_code == 202
    assert waiting.json()["state"] == "waiting"
    assert asking.get(waiting["Location"]).json()["id"] == waiting.json()["id"]
    assert waiting.json()["id"] in {row["id"] for row in asking.every("purge-requests")}
    problem(asking.post(f"{waiting['Location']}/approve"), 403, "insufficient_scope")
    done = other.post(f"{waiting['Location']}/approve", {"reason": "fine"})
    assert done.status_code == 202, done.content
    assert done.json()["kind"] == "tenant.purge"
    problem(other.post(f"{waiting['Location']}/reject"), 409, "already_decided")


def test_admin(tenant, visitor):  # noqa: F811
    ann, ben, viewer = visitor("administrator"), visitor("administrator"), visitor("viewer")
    for person in (ann, ben, viewer):
        person.sign_in()
    services.delete_tenant(tenant_id=tenant.pk, grace_days=0, actor=BEN, source=HERE)
    sent = ann.http.post(tenant_url(tenant, "purge"), {"confirm_slug": tenant.slug, "reason": "gone"})
    row = PurgeRequest.objects.get(tenant=tenant)
    assert sent.url == url("provisioning_purgerequest_change", row.pk)
    assert viewer.http.post(url("provisioning_purgerequest_approve", row.pk), {}).status_code == 403
    own = ann.http.post(url("provisioning_purgerequest_approve", row.pk), {})
    assert "Somebody else has to approve" in own.content.decode()
    assert ben.http.get(url("provisioning_purgerequest_change", row.pk)).status_code == 200
    assert ben.http.post(url("provisioning_purgerequest_approve", row.pk), {"reason": "yes"}).status_code == 302
    row.refresh_from_db()
    assert row.state == "approved"


def test_commands(asked, tenant):  # noqa: F811
    assert str(asked.pk) in json.dumps(call("list_purge_requests"))
    assert call("reject_purge", str(asked.pk), "--reason", "no")["state"] == "rejected"
    assert refusal("approve_purge", str(asked.pk))[0] == 3
    again = call("purge_tenant", tenant.slug, "--confirm", tenant.slug, "--reason", "gone", "--force")
    assert state(asked) == "active"
    assert refusal("approve_purge", again["purge_request"])[0] == 2  # the same person of this machine


def test_without_the_setting_nobody_waits(tenant, settings):  # noqa: F811
    settings.PURGE_NEEDS_APPROVAL = False
    done = services.purge_tenant(
        tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="gone", force=True, actor=ANN, source=HERE
    )
    assert done.operation.kind == "tenant.purge"
    assert not PurgeRequest.objects.filter(tenant=tenant).exists()


def test_a_plan_asks_for_a_second_person_by_itself_and_changing_it_does_not_help(tenant, settings):  # noqa: F811
    settings.PURGE_NEEDS_APPROVAL = False
    who = {"actor": ANN, "source": HERE}
    strict = plans.create_plan(slug=fresh_slug("strict"), name="Strict", purge_needs_approval=True, **who)
    purge = {"tenant_id": tenant.pk, "confirm_slug": tenant.slug, "reason": "gone", "force": True, **who}
    before = tenant.plan.slug
    services.update_tenant(tenant_id=tenant.pk, changes={"plan": strict.slug}, **who)
    asked = services.purge_tenant(**purge)
    assert asked.operation is None
    services.reject_purge(request_id=asked.request.pk, reason="no", **who)
    services.update_tenant(tenant_id=tenant.pk, changes={"plan": before}, **who)
    again = services.purge_tenant(**purge)
    assert again.operation is None
    assert services.approve_purge(request_id=again.request.pk, actor=BEN, source=HERE).operation.kind == "tenant.purge"
