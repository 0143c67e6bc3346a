"""The interface and its description agree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml
from django.test import Client
from openapi_spec_validator import validate

from tests.support.databases import PROJECT


@pytest.fixture(scope="module")
def description() -> dict:
    response = Client().get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
    return response.json()


def test_it_is_valid_openapi(description):
    validate(description)


def test_it_comes_as_yaml_too(description):
    response = Client().get("/api/v1/schema")
    assert "yaml" in response["Content-Type"] or "openapi" in response["Content-Type"]
    assert yaml.safe_load(response.content)["paths"].keys() == description["paths"].keys()


def test_the_generator_has_nothing_to_warn_of():
    command = [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def operations(description):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", method, operation


def test_every_operation_tells_its_problems_headers_and_key(description):
    names = set()
    for name, method, operation in operations(description):
        problems = {s for s, r in operation["responses"].items() if "application/problem+json" in r.get("content", {})}
        assert {"400", "401", "403", "404", "405", "406", "429", "500", "503"} <= problems, name
        headers = {p["name"] for p in operation["parameters"] if p["in"] == "header"}
        assert "X-Request-ID" in headers, name
        assert ("Idempotency-Key" in headers) is (method == "post"), name
        if method == "post":
            assert {"409", "413", "415", "422"} <= problems, name
        assert {"ApiKey", "Session"} == {scheme for entry in operation["security"] for scheme in entry}, name
        assert "Scope: `" in operation["description"], name
        assert operation["operationId"] not in names
        names.add(operation["operationId"])
    assert len(names) == 60


def test_conditional_requests_and_preferences_are_described(description):
    def header_names(path, method):
        return {p["name"] for p in description["paths"][path][method]["parameters"] if p["in"] == "header"}

    assert "If-Match" in header_names("/api/v1/tenants/{id}", "patch")
    assert "412" in description["paths"]["/api/v1/tenants/{id}"]["patch"]["responses"]
    assert "If-None-Match" in header_names("/api/v1/tenants/{id}", "get")
    assert "Prefer" in header_names("/api/v1/tenants", "post")
    created = description["paths"]["/api/v1/tenants"]["post"]
    assert created["requestBody"]["content"]["application/json"]["examples"]
    assert {"Location", "ETag"} <= set(created["responses"]["201"]["headers"])


def test_the_password_is_in_the_six_answers_that_give_it(description):
    """Components that hold a connection are used where credentials are handed out, and nowhere else."""
    import json

    holders = {"Connection", "TenantWithConnection", "CredentialWithConnection", "MigratorWithConnection"}
    used = set()
    for name, _, operation in operations(description):
        if any(f'schemas/{holder}"' in json.dumps(operation) for holder in holders):
            used.add(name)
    assert {name.partition(" ")[0] for name in used} == {"POST"}
    assert len(used) == 6
