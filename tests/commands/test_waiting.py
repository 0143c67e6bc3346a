"""Commands whose work goes to a worker: waiting, not waiting, doing it here, and what they say when nobody works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenants import seen
from tenants.models import AuditEvent, Operation, Tenant, TenantRole
from tests.commands.support import call, manage, refusal, text
from tests.provisioning.support import leftovers
from tests.support.databases import PROJECT
from tests.support.fixtures import fresh_slug
from tests.support.processes import wait_for


@pytest.fixture
def nobody_works() -> None:
    """Forget the sign of life that a worker of another test has left."""
    seen.forget(seen.Who.WORKER)


@pytest.fixture
def waiting(cold_template: Any) -> dict[str, Any]:
    """A tenant that waits for a worker."""
    return create(cold_template, "--no-wait")


def create(version: Any, *arguments: str) -> dict[str, Any]:
    return call("create_tenant", fresh_slug("cold"), "--template", version.template.name, *arguments)


def test_without_a_slot_the_work_is_left_to_a_worker(waiting: dict[str, Any]) -> None:
    assert (waiting["state"], waiting["connection"]) == ("provisioning", None)
    assert waiting["operation"]["state"] == "pending"


def test_people_are_told_when_no_worker_is_running(cold_template: Any, nobody_works: None) -> None:
    ran = manage("create_tenant", fresh_slug("cold"), "--template", cold_template.template.name)
    assert ran.code == 0
    assert "is being made" in ran.out
    assert "No worker is running" in ran.err
    assert "manage.py run_operation" in ran.err


def test_here_makes_the_tenant_in_this_process(cold_template: Any) -> None:
    made = create(cold_template, "--here")
    assert (made["state"], made["operation"]["state"]) == ("active", "succeeded")
    with psycopg.connect(made["connection"]["dsn"]) as session:
        assert session.execute("SELECT name FROM customers").fetchall() == [("House",)]
    assert AuditEvent.objects.filter(tenant_id=made["id"], action="credentials.reveal").count() == 1


def test_waiting_ends_when_a_worker_has_done_it(cold_template: Any, celery_worker_process: Any) -> None:
    made = create(cold_template, "--wait", "--timeout", "60")
    assert made["state"] == "active"
    assert made["operation"]["worker"].split(":")[1] != str(os.getpid())
    psycopg.connect(made["connection"]["dsn"]).close()


def test_waiting_in_vain_ends_with_what_to_do(cold_template: Any, nobody_works: None) -> None:
    slug = fresh_slug("cold")
    code, error = refusal("create_tenant", slug, "--template", cold_template.template.name, "--wait", "--timeout", "1")
    assert (code, error.code) == (7, "no_worker")
    assert f"run_operation {error.extra['operation']}" in str(error.hint)
    assert Tenant.objects.get(slug=slug).state == "provisioning"


def test_run_operation_and_collect_credentials_once(waiting: dict[str, Any]) -> None:
    operation = waiting["operation"]["id"]
    code, error = refusal("collect_credentials", operation)
    assert (code, error.code) == (3, "not_finished")
    done = call("run_operation", operation)
    assert (done["state"], done["steps"][-1]["state"]) == ("succeeded", "succeeded")
    assert refusal("run_operation", operation)[0] == 3
    dsn = text("collect_credentials", operation, "--show-dsn-only").strip()
    psycopg.connect(dsn).close()
    code, error = refusal("collect_credentials", operation)
    assert (code, error.code) == (3, "already_collected")


def test_cancel_operation_and_retry_operation(waiting: dict[str, Any], cluster: Any) -> None:
    operation = waiting["operation"]["id"]
    cancelled = call("cancel_operation", operation, "--reason", "wrong plan")
    assert cancelled["state"] == "cancelled"
    assert leftovers(cluster, waiting["schema_name"]) == []
    assert AuditEvent.objects.get(action="operation.cancel", target_id=operation).reason == "wrong plan"
    assert refusal("cancel_operation", operation)[0] == 3
    again = call("retry_operation", operation, "--here")
    assert (again["state"], again["retry_of"]) == ("succeeded", operation)
    psycopg.connect(call("collect_credentials", again["id"])["connection"]["dsn"]).close()
    assert refusal("retry_operation", again["id"])[0] == 3


def test_a_failed_operation_fails_the_command_that_waits_for_it(waiting: dict[str, Any], cluster: Any) -> None:
    operation = waiting["operation"]["id"]
    TenantRole.objects.filter(tenant_id=waiting["id"]).delete()
    code, error = refusal("run_operation", operation)
    assert (code, error.extra["operation"]) == (1, operation)
    assert f"retry_operation {operation}" in str(error.hint)
    assert Tenant.objects.get(pk=waiting["id"]).state == "failed"
    assert leftovers(cluster, waiting["schema_name"]) == []
    shown = call("show_operation", operation)
    assert (shown["state"], shown["error"]["code"]) == ("failed", error.code)
    assert "failed" in text("list_operations", "--tenant", waiting["slug"])


def test_ctrl_c_leaves_the_operation_alone_and_says_so(cold_template: Any, nobody_works: None, tmp_path: Path) -> None:
    slug, said = fresh_slug("cold"), tmp_path / "stderr"
    command = [sys.executable, "manage.py", "create_tenant", slug, "--template", cold_template.template.name, "--wait"]
    with said.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
        )
    try:
        wait_for(lambda: Operation.objects.filter(tenant__slug=slug).exists(), seconds=60, what="the operation")
        wait_for(lambda: "No worker" in said.read_text(), seconds=30, what="the remark")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    operation = Operation.objects.get(tenant__slug=slug)
    assert (process.returncode, out) == (130, "")
    assert said.read_text().endswith(f"interrupted; the operation goes on: manage.py show_operation {operation.pk}\n")
    assert operation.state == "pending"


def test_list_operations_filters(waiting: dict[str, Any]) -> None:
    slug, operation = waiting["slug"], waiting["operation"]["id"]
    rows = call("list_operations", "--tenant", slug, "--open", "--kind", "tenant.provision", "--state", "pending")
    assert [row["id"] for row in rows["operations"]] == [operation]
    assert call("list_operations", "--tenant", slug, "--kind", "tenant.purge")["count"] == 0
    assert call("list_operations", "--tenant", slug, "--state", "failed")["count"] == 0
    assert call("list_operations", "--cluster", waiting["cluster"], "--limit", "1")["count"] >= 1
    assert len(call("list_operations", "--limit", "1")["operations"]) == 1
    assert operation in text("list_operations", "--tenant", slug)
    assert refusal("list_operations", "--tenant", "nobody-at-all")[0] == 4
    assert refusal("list_operations", "--cluster", "nowhere")[0] == 4


@pytest.mark.parametrize(
    "command", ["show_operation", "run_operation", "cancel_operation", "retry_operation", "collect_credentials"]
)
@pytest.mark.parametrize("name", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_operation_that_is_not_there(command: str, name: str) -> None:
    assert refusal(command, name)[0] == 4
