"""What each answer tells browsers, and that `check --deploy` has nothing to say."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest
from django.test import Client

from tests.support.databases import PROJECT

PATHS = [
    "/admin/login/", "/api/v1/docs", "/api/v1/docs?script=", "/api/v1/schema", "/api/v1/tenants", "/healthz",
    "/problems", "/nothing-here", "/api/v1/nothing-here", "/static/tenants/admin.js", "/admin/colours.css",
]  # fmt: skip


def policy(path: str) -> dict[str, list[str]]:
    """The Content-Security-Policy of a page, by directive."""
    header = Client().get(path)["Content-Security-Policy"]
    return {name: values for name, *values in (part.split() for part in header.split(";"))}


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_every_header(path):
    answer = Client().get(path)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    assert answer["X-Frame-Options"] == "DENY"
    found = policy(path)
    assert found["frame-ancestors"] == found["default-src"] == found["base-uri"] == ["'none'"]
    assert found["style-src"] == found["connect-src"] == found["form-action"] == ["'self'"]
    eval_too = path.startswith("/admin/")
    assert found["script-src"] == (["'self'", "'unsafe-eval'"] if eval_too else ["'self'"])


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/docs"])
def test_pages_hold_nothing_inline(path):
    text = Client().get(path).content.decode()
    assert "<script>" not in text
    assert "<style" not in text
    assert " onclick=" not in text


def test_the_colours_are_a_stylesheet():
    answer = Client().get("/admin/colours.css")
    assert answer["Content-Type"] == "text/css"
    assert "--color-primary-600: oklch(51.1% .262 276.966);" in answer.content.decode()
    assert "--color-base-50:" in answer.content.decode()


def test_over_tls_browsers_are_told_to_stay_there(settings):
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    answer = Client().get("/admin/login/", secure=True)
    assert answer["Strict-Transport-Security"].startswith("max-age=31536000; includeSubDomains")
    assert "Strict-Transport-Security" not in Client().get("/admin/login/")


@pytest.mark.parametrize("path", ["/api/v1/tenants", "/admin/login/", "/healthz"])
def test_other_origins_are_told_nothing(path):
    """CORS is off: neither a preflight nor an answer names an origin."""
    asking = {"HTTP_ORIGIN": "https://evil.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
    for answer in (Client().options(path, **asking), Client().get(path, **asking)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert Client().options("/api/v1/tenants", **asking).status_code in (401, 405)


def test_check_deploy_has_nothing_to_say():
    environment = {
        **os.environ,
        "PUBLIC_URL": "https://controlplane.example.org",
        "ALLOWED_HOSTS": "controlplane.example.org",
        "BEHIND_PROXY": "true",
        "AUDIT_SIGNING_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "AUDIT_CHECKPOINT_URLS": "file:///var/lib/checkpoints.jsonl",
        "SECRET_KEY": "kP3x" * 4 + "0123456789abcdefghijklmnopqrstuvwxyzQWERTZUIOPASDF",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
