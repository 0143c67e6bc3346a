"""Alive, ready, measured."""

from __future__ import annotations

import sys
import time

import pytest
from celery import current_app
from django.test import Client

from controlplane import health
from tenants import seen
from tests.support.processes import celery_worker, running, wait_for


@pytest.fixture
def everybody_seen():
    for who in seen.Who:
        seen.note(who)


def forget_everybody():
    for who in seen.Who:
        seen.forget(who)


def bad_checks():
    response = Client().get("/readyz")
    bad = {name: result for name, result in response.json()["checks"].items() if result != "ok"}
    assert response.status_code == (503 if bad else 200)
    return bad


def test_alive_even_without_anything(settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    response = Client().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_when_everything_is_there(template, everybody_seen):
    response = Client().get("/readyz")
    assert response.status_code == 200, response.content
    assert response.json() == {"status": "ready", "checks": dict.fromkeys(health.CHECKS, "ok")}
    assert set(health.CHECKS) == {
        "database",
        "redis",
        "migrations",
        "default_cluster",
        "default_template",
        "worker",
        "beat",
    }


def test_a_worker_and_beat_are_each_named(template, everybody_seen):
    seen.forget(seen.Who.BEAT)
    assert bad_checks() == {"beat": "no beat seen lately"}
    seen.forget(seen.Who.TASKS)
    assert bad_checks() == {"beat": "no beat seen lately"}  # nobody gives it anything to do
    seen.note(seen.Who.BEAT)
    assert bad_checks() == {"worker": "a worker is there and does not work"}
    seen.forget(seen.Who.WORKER)
    assert bad_checks() == {"worker": "no worker seen lately"}


def test_what_was_seen_long_ago_is_not_there(template, everybody_seen, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seen.LATELY_SECONDS + 1)
    assert set(bad_checks()) == {"worker", "beat"}
    assert seen.seconds(seen.Who.BEAT) == pytest.approx(31, abs=1)


def test_a_real_worker_and_real_beat_leave_their_marks(template):
    current_app.control.purge()  # what other tests left would be carried out, and be marked as beat's
    forget_everybody()
    with celery_worker() as worker:
        assert bad_checks() == {"beat": "no beat seen lately"}
        worker.stop()
    forget_everybody()
    beat = [sys.executable, "-m", "celery", "-A", "controlplane", "beat", "--loglevel", "INFO", "--pidfile", ""]
    with running(beat) as sends:
        wait_for(lambda: seen.lately(seen.Who.BEAT), seconds=40, what="beat's mark", running=sends)
        assert bad_checks() == {"worker": "no worker seen lately"}
        with celery_worker():
            wait_for(lambda: not bad_checks(), seconds=30, what="everything")
            assert seen.lately(seen.Who.TASKS)


def test_not_ready_without_redis(template, everybody_seen, settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["redis"] == "does not answer"
    assert response.json()["checks"]["database"] == "ok"


def test_not_ready_with_migrations_missing(template, everybody_seen, monkeypatch):
    from django.db.migrations.executor import MigrationExecutor

    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: ["one"])
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["migrations"] == "migrations are missing"
