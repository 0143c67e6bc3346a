"""Tenants made through the interface, and what every problem has to look like."""

from __future__ import annotations

from typing import Any

from tests.provisioning.support import warm
from tests.support.api import ApiClient
from tests.support.fixtures import fresh_slug


def new_tenant(client: ApiClient, template: Any, cluster: Any, **body: Any) -> dict[str, Any]:
    """A tenant by POST from a warm slot: the 201's body."""
    warm(cluster, template)
    response = client.post("tenants", {"name": "Acme", "slug": fresh_slug(), "template": "tiny", **body})
    assert response.status_code == 201, response.content
    return response.json()


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is this problem, complete and well formed; returns its body."""
    assert response.status_code == status, response.content[:2000]
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code, body
    assert body["type"] == f"/problems/{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response["X-Request-ID"]
    return body


def wrong_fields(response: Any) -> set[str]:
    """The fields that a 400 names."""
    return {error["field"] for error in problem(response, 400, response.json()["code"])["errors"]}
