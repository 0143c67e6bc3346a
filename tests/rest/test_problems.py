"""One kind of error, whoever raises it: never HTML, never anything internal."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError
from django.test import Client

from controlplane.problem_catalogue import CATALOGUE
from tenants import exceptions
from tests.rest.support import new_tenant, problem


@pytest.fixture
def client(api_client):
    return api_client()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/tenants/"),
        ("GET", "/api/v1/tenants/not-a-uuid"),
        ("GET", "/api/"),
        ("POST", "/api/v2/tenants"),
        ("GET", "/problems/unheard-of"),
        ("GET", "/api/v1/tenants%00"),
        ("GET", "/api/v1/audit-events/99999999999999999999999999"),
    ],
)
def test_paths_that_lead_nowhere(client, method, path):
    problem(client.request(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "PATCH", "DELETE", "FOO"])
def test_methods_that_are_not_there(client, method):
    response = client.request(method, "tenants")
    problem(response, 405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_methods_that_are_not_there_outside_of_the_api(client):
    response = client.request("POST", "/healthz")
    problem(response, 405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png", "text/*"])
def test_answers_in_other_formats_are_not_to_be_had(client, accept):
    problem(client.get("tenants", accept=accept), 406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1"])
def test_json_is_what_there_is(client, accept):
    assert client.get("tenants", accept=accept)["Content-Type"] == "application/json"


def test_a_host_that_is_not_ours(client):
    response = client.http.get("/api/v1/tenants", HTTP_HOST="evil.example")
    problem(response, 400, "bad_request")


def test_head_answers_like_get_without_a_body(client):
    response = client.request("HEAD", "tenants")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("secret detail"), 500, "internal_error"),
        (KeyError("secret detail"), 500, "internal_error"),
        (IntegrityError("duplicate key: secret detail"), 409, "conflict"),
        (OperationalError("connection to secret detail failed"), 503, "database_unavailable"),
        (exceptions.ClusterUnavailable("host secret detail refused"), 503, "cluster_unavailable"),
        (exceptions.ClusterBusy("role secret detail"), 503, "cluster_busy"),
        (exceptions.ClusterError("relation secret detail"), 502, "cluster_error"),
        (exceptions.SecretUnreadable(), 500, "secret_unreadable"),
    ],
)
def test_what_goes_wrong_inside_is_not_told(client, monkeypatch, error, status, code):
    from provisioning import services

    def broken(_):
        raise error

    monkeypatch.setattr(services, "get_tenant", broken)
    response = client.get("tenants/00000000-0000-0000-0000-000000000000")
    problem(response, status, code)
    assert "secret detail" not in response.content.decode()
    assert ("Retry-After" in response) is (status == 503)


def test_a_crash_outside_of_the_views_is_a_problem_too(monkeypatch):
    from controlplane import health

    monkeypatch.setattr(health, "_result", lambda name: 1 / 0)
    problem(Client(raise_request_exception=False).get("/readyz"), 500, "internal_error")


def test_what_is_a_conflict_keeps_what_helps(client, plan, template, cluster):
    made = new_tenant(client, template, cluster)
    body = problem(client.post(f"tenants/{made['id']}/undelete"), 409, "wrong_state")
    assert body["instance"] == f"/api/v1/tenants/{made['id']}/undelete"
    assert body["hint"]


def test_every_type_leads_to_its_meaning():
    index = Client().get("/problems").json()["problems"]
    assert {page["type"].rpartition("/")[2] for page in index} == set(CATALOGUE)
    for page in index:
        assert Client().get(page["type"]).json() == page


def test_the_catalogue_knows_every_code_the_code_can_raise():
    """Codes are part of the interface, so a new one needs an entry."""
    import re
    from pathlib import Path

    project = Path(__file__).resolve().parents[2]
    used = set()
    for app in ("tenants", "provisioning", "controlplane"):
        for file in (project / app).rglob("*.py"):
            if {"management", "embedded", "admin", "bench", "forms.py"} & set(file.parts):
                continue
            used |= set(re.findall(r"\bcode=\"([a-z_]+)\"", file.read_text(encoding="utf-8")))
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and hasattr(kind, "code")]
    used |= {kind.code for kind in kinds} - {"error"}  # the base class is never raised bare
    of_fields = {"required", "invalid_type", "unknown_field"}
    assert used - of_fields <= set(CATALOGUE)


def test_strangers_get_problems_in_the_docs_and_no_links_to_other_hosts():
    page = Client().get("/api/v1/docs")
    assert page.status_code == 200
    text = page.content.decode()
    assert "/static/drf_spectacular_sidecar/" in text
    assert "//cdn" not in text
    assert "https://" not in text


def test_the_front_door_leads_to_the_admin():
    response = Client().get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_pages_for_people_stay_html():
    response = Client(raise_request_exception=False).get("/admin/no/such/page/")
    assert "problem" not in response.get("Content-Type", "")
