"""A key bound to one tenant: what is another's looks exactly like what does not exist."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tenants.models import AuditEvent, Operation, Tenant
from tests.commands.support import call, refusal
from tests.rest.support import new_tenant, problem
from tests.support.api import ApiClient

SCOPES = ("tenants:read", "tenants:write", "credentials:rotate", "operations:read", "operations:write", "audit:read")


@pytest.fixture
def two(api_client, template, cluster, plan):
    """Two tenants by REST."""
    fleet = api_client()
    return [Tenant.objects.get(pk=new_tenant(fleet, template, cluster)["id"]) for _ in range(2)]


@pytest.fixture
def robot(api_client, two):
    """A key of the first."""
    return api_client(*SCOPES, tenant=two[0])


def told(answer, wanted):
    """An answer without what differs from request to request, and without the id that was asked for."""
    body = problem(answer, 404, "not_found")
    del body["request_id"]
    headers = {name: value for name, value in answer.headers.items() if name not in ("X-Request-ID", "Content-Length")}
    return str(body).replace(str(wanted), "ID"), headers


def test_it_sees_its_own_and_only_that(robot, two):
    mine, other = two
    assert [row["id"] for row in robot.every("tenants")] == [str(mine.pk)]
    assert robot.get(f"tenants/{mine.pk}").status_code == 200
    operations = {row["id"] for row in robot.every("operations")}
    assert operations == {str(pk) for pk in Operation.objects.filter(tenant=mine).values_list("pk", flat=True)}
    events = {row["id"] for row in robot.every("audit-events")}
    assert events == set(AuditEvent.objects.filter(tenant_id=mine.pk).values_list("pk", flat=True))
    assert robot.every(f"operations?tenant={other.pk}") == []
    assert robot.every(f"tenants?slug={other.slug}") == []
    assert robot.every(f"audit-events?tenant={other.pk}") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "tenants/{}"), ("PATCH", "tenants/{}"), ("DELETE", "tenants/{}"), ("POST", "tenants/{}/suspend"),
        ("POST", "tenants/{}/resume"), ("POST", "tenants/{}/undelete"), ("POST", "tenants/{}/rotate-credentials"),
        ("POST", "tenants/{}/purge"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [None, {"nonsense": 1}])
def test_anothers_tenant_looks_like_none(robot, two, method, path, body):
    foreign, missing = two[1].pk, uuid4()
    answers = [told(robot.request(method, path.format(pk), body), pk) for pk in (foreign, missing)]
    assert answers[0] == answers[1]
    assert Tenant.objects.get(pk=foreign).state == "active"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "operations/{}"), ("POST", "operations/{}/cancel"), ("POST", "operations/{}/retry"),
     ("POST", "operations/{}/credentials")],
)  # fmt: skip
def test_anothers_operation_looks_like_none(robot, two, method, path):
    foreign, missing = Operation.objects.filter(tenant=two[1]).values_list("pk", flat=True)[0], uuid4()
    answers = [told(robot.request(method, path.format(pk)), pk) for pk in (foreign, missing)]
    assert answers[0] == answers[1]


def test_anothers_event_looks_like_none(robot, two):
    foreign = AuditEvent.objects.filter(tenant_id=two[1].pk).values_list("pk", flat=True)[0]
    answers = [told(robot.get(f"audit-events/{pk}"), pk) for pk in (foreign, 10**15)]
    assert answers[0] == answers[1]


def test_it_acts_on_its_own(robot, two):
    assert robot.post(f"tenants/{two[0].pk}/suspend").status_code == 200
    assert AuditEvent.objects.get(action="tenant.suspend", tenant_id=two[0].pk).actor_id == str(robot.row.pk)


def test_it_makes_no_tenants_and_exports_no_log(robot):
    problem(robot.post("tenants", {"name": "X", "slug": "some-slug"}), 403, "tenant_bound_key")
    problem(robot.get("audit-events/export"), 403, "tenant_bound_key")


@pytest.mark.parametrize("scope", ["clusters:read", "plans:read", "templates:read"])
def test_it_cannot_have_scopes_of_the_fleet(two, scope):
    code, error = refusal("create_api_key", "robot", "--scope", scope, "--tenant", two[0].slug)
    assert code == 2
    assert scope in str(error)


def test_the_commands_make_and_list_it(two):
    made = call("create_api_key", "robot", "--scope", "tenants:read", "--tenant", two[0].slug)
    assert made["tenant"] == two[0].slug
    assert [row["id"] for row in ApiClient(made["key"]).every("tenants")] == [str(two[0].pk)]
    listed = {row["prefix"]: row for row in call("list_api_keys")["api_keys"]}
    assert listed[made["prefix"]]["tenant"] == two[0].slug
    assert made["key"] not in str(listed)
    call("revoke_api_key", made["prefix"])
    assert made["prefix"] not in {row["prefix"] for row in call("list_api_keys")["api_keys"]}
    assert made["prefix"] in {row["prefix"] for row in call("list_api_keys", "--all")["api_keys"]}
