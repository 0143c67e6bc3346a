"""So many a minute for each caller, and less for those who cannot say who they are."""

from __future__ import annotations

import secrets

import pytest
from django.test import Client
from rest_framework.settings import api_settings

from tenants.models import AuditEvent
from tests.rest.support import problem


@pytest.fixture
def rates(monkeypatch):
    """Sets the rates; a long period, so that no test lies across the end of one."""

    def set_rates(**given):
        monkeypatch.setattr(
            api_settings, "DEFAULT_THROTTLE_RATES", {"caller": "6000/min", "anonymous": "60/min", **given}
        )

    return set_rates


def test_a_caller_over_its_rate_is_told_when_to_come_again(api_client, rates):
    rates(caller="3/day")
    client = api_client("plans:read")
    assert [client.get("plans").status_code for _ in range(4)] == [200, 200, 200, 429]
    response = client.get("plans")
    problem(response, 429, "throttled")
    assert 1 <= int(response["Retry-After"]) <= 86_400
    assert api_client("plans:read").get("plans").status_code == 200


def test_a_throttled_caller_cannot_flood_the_audit_log(api_client, rates):
    rates(caller="3/day")
    client = api_client("plans:read")
    for _ in range(10):
        client.get("tenants")
    by_key = AuditEvent.objects.filter(action="access.denied", actor_kind="api_key", actor_id=str(client.row.pk))
    assert by_key.count() == 3


def test_guessing_keys_is_slowed_down_by_address(rates):
    rates(anonymous="4/day")
    ip = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    stranger = Client(REMOTE_ADDR=ip, HTTP_AUTHORIZATION="Api-Key guess")
    assert [stranger.get("/api/v1/plans").status_code for _ in range(6)] == [401] * 4 + [429] * 2
    assert "Retry-After" in stranger.get("/api/v1/plans")
    assert Client(REMOTE_ADDR="10.0.0.1", HTTP_AUTHORIZATION="Api-Key guess").get("/api/v1/plans").status_code != 200


def test_a_known_caller_is_not_held_up_by_strangers_at_its_address(api_client, rates):
    rates(anonymous="1/day")
    for _ in range(3):
        Client().get("/api/v1/plans")
    assert api_client("plans:read").get("plans").status_code == 200


def test_without_redis_nothing_is_throttled(api_client, rates, settings):
    client = api_client("plans:read")
    rates(caller="0/day")
    assert client.get("plans").status_code == 429
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    assert client.get("plans").status_code == 200
