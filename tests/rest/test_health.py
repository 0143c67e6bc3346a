"""Alive, ready, measured."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from controlplane import health
from tests.rest.support import problem


@pytest.fixture
def worker_seen(settings):
    cache.set(settings.WORKER_SEEN_KEY, True, timeout=30)


def test_alive_even_without_anything(settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    response = Client().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_when_everything_is_there(template, worker_seen):
    response = Client().get("/readyz")
    assert response.status_code == 200, response.content
    assert response.json() == {"status": "ready", "checks": dict.fromkeys(health.CHECKS, "ok")}
    assert set(health.CHECKS) == {"database", "redis", "migrations", "default_cluster", "default_template", "worker"}


def test_not_ready_without_a_worker(template, settings):
    cache.delete(settings.WORKER_SEEN_KEY)
    response = Client().get("/readyz")
    assert response.status_code == 503
    bad = {name for name, result in response.json()["checks"].items() if result != "ok"}
    assert bad == {"worker"}


def test_not_ready_without_redis(template, worker_seen, settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["redis"] == "does not answer"
    assert response.json()["checks"]["database"] == "ok"


def test_not_ready_with_migrations_missing(template, worker_seen, monkeypatch):
    from django.db.migrations.executor import MigrationExecutor

    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: ["one"])
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["migrations"] == "migrations are missing"


def test_metrics_are_for_this_host():
    assert b"django_http_requests" in Client().get("/metrics").content
    problem(Client(REMOTE_ADDR="192.0.2.1").get("/metrics"), 403, "forbidden")
    problem(Client(HTTP_X_FORWARDED_FOR="127.0.0.1").get("/metrics"), 403, "forbidden")


def test_metrics_are_for_whoever_has_the_token(monkeypatch, tmp_path):
    stranger = Client(REMOTE_ADDR="192.0.2.1")
    monkeypatch.setenv("METRICS_TOKEN", "open-sesame")
    assert stranger.get("/metrics", headers={"Authorization": "Bearer open-sesame"}).status_code == 200
    problem(stranger.get("/metrics", headers={"Authorization": "Bearer other"}), 403, "forbidden")
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("METRICS_TOKEN_FILE", str(tmp_path / "token"))
    assert stranger.get("/metrics", headers={"Authorization": "Bearer from-a-file"}).status_code == 200


def test_without_a_token_an_empty_one_opens_nothing(monkeypatch):
    monkeypatch.delenv("METRICS_TOKEN", raising=False)
    problem(Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": "Bearer "}), 403, "forbidden")
