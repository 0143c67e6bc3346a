"""What scripts rely on: exit codes, one JSON document on the right stream, and never a traceback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from tenants.exceptions import (
    Cancelled,
    ClusterBusy,
    ClusterUnavailable,
    ClusterUnusable,
    Conflict,
    ControlPlaneError,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    TemplateRefused,
)
from tenants.management.errors import StillRunning, exit_code, understand
from tenants.models import Tenant
from tests.commands.support import manage
from tests.support.databases import PROJECT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ControlPlaneError(), 1),
        (InvalidInput(), 2),
        (Conflict(), 3),
        (Conflict(code="already_collected", status=410), 3),
        (PreconditionFailed(), 3),
        (Cancelled(), 3),
        (NotFound(), 4),
        (ClusterUnavailable(), 5),
        (ClusterBusy(), 5),
        (ClusterUnusable(), 5),
        (TemplateRefused(reason="no"), 6),
        (StillRunning(), 7),
        (understand(ZeroDivisionError()), 1),
    ],
)
def test_exit_codes(error: ControlPlaneError, code: int) -> None:
    assert exit_code(error) == code


def test_a_missing_tenant_is_told_to_people_and_to_programs() -> None:
    people = manage("show_tenant", "no-such-tenant")
    assert (people.code, people.out) == (4, "")
    assert people.err == "error: There is no tenant 'no-such-tenant'.\n  hint: See manage.py list_tenants.\n"
    program = manage("show_tenant", "no-such-tenant", "--json")
    assert (program.code, program.out) == (4, "")
    assert program.problem == {
        "code": "not_found",
        "status": 404,
        "detail": "There is no tenant 'no-such-tenant'.",
        "hint": "See manage.py list_tenants.",
        "exit_code": 4,
    }


def test_wrong_usage_is_2_in_the_same_form() -> None:
    people = manage("list_tenants", "--colour", "red")
    assert (people.code, people.out) == (2, "")
    assert people.err.startswith("error: unrecognized arguments: --colour red\n  hint: list_tenants --help")
    program = manage("create_tenant", "x", "--limit", "nonsense", "--json")
    assert (program.code, program.problem["code"], program.problem["exit_code"]) == (2, "usage", 2)
    assert "KEY=VALUE" in program.problem["detail"]


def test_a_database_that_is_down_is_5_and_its_password_stays_secret() -> None:
    url = "postgres://somebody:sesame-open@127.0.0.1:1/none"
    ran = manage("list_tenants", "--json", DATABASE_URL=url)
    assert (ran.code, ran.out, ran.problem["code"]) == (5, "", "cluster_unavailable")
    assert "sesame-open" not in ran.err


def test_success_is_0_and_one_document() -> None:
    ran = manage("list_tenants", "--json", "--limit", "1")
    assert (ran.code, ran.err) == (0, "")
    assert set(ran.document) == {"count", "tenants"}


def on_a_terminal(*arguments: str, typed: str) -> tuple[int, str]:
    """Run a command with a person at the keyboard; its exit code and all it printed."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        os.write(ours, typed.encode())
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    return process.returncode, out


def test_a_person_is_asked_for_the_slug_and_the_reason(shop: dict[str, Any]) -> None:
    slug = shop["slug"]
    code, out = on_a_terminal("delete_tenant", slug, typed="something-else\n")
    assert code == 2
    assert f"Type its slug ({slug})" in out
    assert Tenant.objects.get(slug=slug).state == "active"
    code, out = on_a_terminal("delete_tenant", slug, typed=f"{slug}\ncontract ended\n")
    assert code == 0, out
    assert "Reason: " in out
    deleted = Tenant.objects.get(slug=slug)
    assert (deleted.state, deleted.state_reason) == ("deleted", "contract ended")
