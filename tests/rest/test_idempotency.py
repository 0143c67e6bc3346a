"""A POST that is sent again is answered again, not done again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tenants import operations
from tenants.models import AuditEvent, IdempotencyRecord, Operation, Tenant
from tenants.rest import idempotency
from tests.provisioning.support import warm
from tests.rest.support import new_tenant, problem
from tests.support.api import ApiClient
from tests.support.fixtures import fresh_slug


@pytest.fixture
def client(api_client, plan, template):
    return api_client()


def body_of(slug: str, **more) -> dict:
    return {"name": "Once", "slug": slug, "template": "tiny", **more}


def test_the_same_request_again_gets_the_same_answer(client, template, cluster):
    warm(cluster, template)
    key, slug = fresh_slug("key"), fresh_slug()
    first = client.post("tenants", body_of(slug, plan=None) | {"plan": "standard"}, idempotency_key=key)
    assert first.status_code == 201, first.content
    # Another order of keys is the same body.
    again = client.post("tenants", dict(reversed(body_of(slug, plan="standard").items())), idempotency_key=key)
    assert again.status_code == 201
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    for header in ("Location", "ETag", "Operation", "Cache-Control", "Content-Type"):
        assert again[header] == first[header]
    assert Tenant.objects.filter(slug=slug).count() == 1


def test_the_kept_answer_cannot_be_read_in_the_database(client, template, cluster):
    warm(cluster, template)
    key = fresh_slug("key")
    made = client.post("tenants", body_of(fresh_slug()), idempotency_key=key).json()
    kept = IdempotencyRecord.objects.get(key=key)
    assert kept.status == 201
    assert made["connection"]["password"] not in kept.response
    assert made["slug"] not in kept.response


def test_errors_of_the_caller_are_replayed_too(client, template, cluster):
    made = new_tenant(client, template, cluster)
    key, path = fresh_slug("key"), f"tenants/{made['id']}/resume"
    problem(client.post(path, idempotency_key=key), 409, "wrong_state")
    client.post(f"tenants/{made['id']}/suspend")
    again = client.post(path, idempotency_key=key)
    problem_body = again.json()
    assert (again.status_code, problem_body["code"]) == (409, "wrong_state")
    assert again["Content-Type"] == "application/problem+json"
    assert client.get(f"tenants/{made['id']}").json()["state"] == "suspended"


def test_an_accepted_request_is_replayed_with_its_location(client):
    key, slug = fresh_slug("key"), fresh_slug()
    first = client.post("tenants", body_of(slug), idempotency_key=key, prefer="respond-async")
    again = client.post("tenants", body_of(slug), idempotency_key=key, prefer="respond-async")
    assert (first.status_code, again.status_code) == (202, 202)
    assert (again["Location"], again["Preference-Applied"]) == (first["Location"], "respond-async")
    client.post(f"{first['Location']}/cancel")


def test_the_key_for_something_else_is_refused(client, template, cluster):
    made = new_tenant(client, template, cluster)
    key = fresh_slug("key")
    assert client.post(f"tenants/{made['id']}/suspend", {"reason": "a"}, idempotency_key=key).status_code == 200
    for path, body in (("suspend", {"reason": "b"}), ("resume", {"reason": "a"}), ("suspend", None)):
        answer = client.post(f"tenants/{made['id']}/{path}", body, idempotency_key=key)
        problem(answer, 422, "idempotency_key_reused")
    assert client.get(f"tenants/{made['id']}").json()["state"] == "suspended"


def test_keys_of_different_callers_do_not_meet(client, api_client, template, cluster):
    key, slug = fresh_slug("key"), fresh_slug()
    warm(cluster, template, 2)
    assert client.post("tenants", body_of(slug), idempotency_key=key).status_code == 201
    other = api_client().post("tenants", body_of(fresh_slug()), idempotency_key=key)
    assert other.status_code == 201
    assert "Idempotency-Replayed" not in other


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "tab\there", "ünï", "\x7f"])
def test_keys_that_cannot_be(client, key):
    before = Tenant.objects.count()
    answer = problem(client.post("tenants", body_of(fresh_slug()), idempotency_key=key), 400, "malformed_header")
    assert answer["errors"][0]["field"] == "Idempotency-Key"
    assert Tenant.objects.count() == before


def test_a_malformed_body_does_not_use_the_key_up(client, template, cluster):
    warm(cluster, template)
    key = fresh_slug("key")
    problem(client.post("tenants", b"{", idempotency_key=key), 400, "malformed_body")
    assert client.post("tenants", body_of(fresh_slug()), idempotency_key=key).status_code == 201


def test_a_failure_of_ours_is_not_kept(client, template, cluster, monkeypatch):
    from provisioning import services

    warm(cluster, template)
    key, slug, real = fresh_slug("key"), fresh_slug(), services.provision_tenant

    def broken(**kwargs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(services, "provision_tenant", broken)
    problem(client.post("tenants", body_of(slug), idempotency_key=key), 500, "internal_error")
    monkeypatch.setattr(services, "provision_tenant", real)
    assert client.post("tenants", body_of(slug), idempotency_key=key).status_code == 201


def in_flight(client: ApiClient, key: str, path: str, body: dict, *, age: float, request_id: str) -> IdempotencyRecord:
    """What a request leaves behind that died before it answered."""
    from django.test import RequestFactory
    from rest_framework.parsers import JSONParser
    from rest_framework.request import Request

    sent = RequestFactory().post(f"/api/v1/{path}", body, content_type="application/json")
    return IdempotencyRecord.objects.create(
        caller=f"api_key:{client.row.pk}",
        key=key,
        request_digest=idempotency.digest(Request(sent, parsers=[JSONParser()])),
        response=request_id,
        created_at=timezone.now() - timedelta(seconds=age),
    )


def test_a_request_in_flight_is_not_begun_again(client):
    key, body = fresh_slug("key"), body_of(fresh_slug())
    in_flight(client, key, "tenants", body, age=50, request_id="first-one")
    answer = client.post("tenants", body, idempotency_key=key)
    problem(answer, 409, "idempotency_in_flight")
    assert answer["Retry-After"] == "1"


def test_one_that_died_before_it_did_anything_is_taken_over(client, template, cluster):
    warm(cluster, template)
    key, body = fresh_slug("key"), body_of(fresh_slug())
    in_flight(client, key, "tenants", body, age=61, request_id="first-one")
    taken = client.post("tenants", body, idempotency_key=key)
    assert taken.status_code == 201
    assert client.post("tenants", body, idempotency_key=key).json() == taken.json()


def test_one_that_died_after_it_had_begun_is_answered_with_what_it_began(client, template, cluster):
    key, body = fresh_slug("key"), body_of(fresh_slug())
    began = client.post("tenants", body, x_request_id=f"died-{key}", prefer="respond-async").json()
    in_flight(client, key, "tenants", body, age=61, request_id=f"died-{key}")
    answer = client.post("tenants", body, idempotency_key=key)
    assert answer.status_code == 202, answer.content
    assert answer.json()["id"] == began["id"]
    assert Operation.objects.filter(tenant__slug=body["slug"]).count() == 1
    operations.work(began["id"])
    assert client.post(began["links"]["credentials"]).status_code == 200


def test_an_act_that_died_is_answered_with_its_outcome(client, template, cluster):
    made = new_tenant(client, template, cluster)
    key, path = fresh_slug("key"), f"tenants/{made['id']}/suspend"
    began = client.post(path, {"reason": "x"}, x_request_id=f"died-{key}").json()
    in_flight(client, key, path, {"reason": "x"}, age=61, request_id=f"died-{key}")
    answer = client.post(path, {"reason": "x"}, idempotency_key=key)
    assert answer.status_code == 200
    assert answer.json()["operation"]["id"] == began["operation"]["id"]
    assert AuditEvent.objects.filter(tenant_id=made["id"], action="tenant.suspend").count() == 1


def test_of_many_equal_requests_at_once_exactly_one_is_carried_out(client, template, cluster):
    warm(cluster, template, 3)
    key, body, count = fresh_slug("key"), body_of(fresh_slug()), 8
    together = threading.Barrier(count)

    def send(_):
        together.wait()
        try:
            response = ApiClient(client.key).post("tenants", body, idempotency_key=key)
            return response.status_code, response.json()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(send, range(count)))
    made = [answer for status, answer in answers if status == 201]
    assert made
    assert all(answer == made[0] for answer in made)
    assert {answer["code"] for status, answer in answers if status != 201} <= {"idempotency_in_flight"}
    assert Tenant.objects.filter(slug=body["slug"]).count() == 1
    assert Operation.objects.filter(tenant__slug=body["slug"]).count() == 1


def test_of_many_that_take_over_at_once_exactly_one_does(client, template, cluster):
    warm(cluster, template, 3)
    key, body, count = fresh_slug("key"), body_of(fresh_slug()), 6
    in_flight(client, key, "tenants", body, age=61, request_id="first-one")
    together = threading.Barrier(count)

    def send(_):
        together.wait()
        try:
            return ApiClient(client.key).post("tenants", body, idempotency_key=key).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        statuses = list(pool.map(send, range(count)))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert Operation.objects.filter(tenant__slug=body["slug"]).count() == 1
