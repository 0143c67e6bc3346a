"""Workers that die: at every point of every step, and at random. In the end nothing is half-done and nothing left."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from provisioning import credentials, services
from provisioning.models import SchemaSlot, Template, TemplateVersion
from tenants import operations
from tenants.models import Operation, Tenant
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, leftovers, orphans, provision
from tests.support.fixtures import fresh_slug
from tests.support.killing_worker import die_at
from tests.support.processes import Running, running, wait_for

POINTS = ("before", "begun", "worked")
PROVISION = ("create roles", "clone schema", "open login")
PURGE = ("close logins and end sessions", "drop schema", "drop roles")
LAST = ["finish: uncommitted", "finish: committed"]
LEASE = {"OPERATION_LEASE_SECONDS": "2", "OPERATION_RETRY_SECONDS": "0.2", "OPERATION_SWEEP_SECONDS": "1"}


def points(steps: tuple[str, ...]) -> list[str]:
    """Every moment at which a worker may die."""
    return [f"{step}: {point}" for step in steps for point in POINTS] + LAST


@pytest.fixture(scope="module")
def mortal_worker(template: Any) -> Iterator[Running]:
    """A worker that dies when told to, with beat, whose sweeps find what the dead leave."""
    command = [sys.executable, "-m", "tests.support.killing_worker", "--beat", "--concurrency", "3"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with running(command, **LEASE) as process:
        wait_for(lambda: " ready" in process.log, what="the worker's start", seconds=40, running=process)
        yield process


def settle(chosen: list[Operation], *, seconds: float = 120, worker: Running | None = None) -> None:
    """Wait until none of these is open; the worker's last words say why, when it takes too long."""
    ids = [operation.pk for operation in chosen]
    limit = time.monotonic() + seconds
    open_ones = Operation.objects.filter(pk__in=ids, state__in=["pending", "running", "cancelling"])
    while open_ones.exists():
        if time.monotonic() > limit:
            late = list(open_ones.values("kind", "state", "attempt", "progress", "lease_expires_at"))
            pytest.fail(f"{late}\n{worker.log[-6000:] if worker else ''}")
        time.sleep(0.1)


def begin_cold(template: TemplateVersion) -> Operation:
    """A tenant without a slot; its operation is not sent to anybody yet."""
    made = services.provision_tenant(
        name="Mortal",
        slug=fresh_slug(),
        template=template.template.name,
        respond_async=True,
        actor=ACTOR,
        source=SOURCE,
    )
    assert made.operation is not None
    return made.operation


def died(operation: Operation) -> bool:
    """Whether a worker really was killed over this operation."""
    from django.core.cache import cache

    return cache.get(f"died:{operation.pk}") is not None


def test_provisioning_survives_a_kill_at_every_point(
    template: Any, cluster: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)  # the point must be agreed before anybody begins
    started = {}
    for point in points(PROVISION):
        operation = begin_cold(template)
        die_at(operation, point)
        started[point] = operation
    settle(list(started.values()), worker=mortal_worker)
    for point, operation in started.items():
        operation.refresh_from_db()
        assert died(operation), f"nobody died at {point!r}"
        assert operation.state == "succeeded", f"{point}: {operation.state} {operation.error}"
        connection = credentials.collect_credentials(operation_id=operation.pk, actor=ACTOR, source=SOURCE)
        assert can_log_in(connection), point
        assert Tenant.objects.get(pk=operation.tenant_id).state == "active"
    assert orphans(cluster) == set()


def test_purge_survives_a_kill_at_every_point(
    template: Any, cluster: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    started = {}
    for point in points(PURGE):
        tenant = act(services.delete_tenant, provision(template).tenant).tenant
        purge = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="test", force=True)
        die_at(purge.operation, point)
        started[point] = purge.operation
    settle(list(started.values()), worker=mortal_worker)
    for point, operation in started.items():
        operation.refresh_from_db()
        tenant = Tenant.objects.get(pk=operation.tenant_id)
        assert died(operation), f"nobody died at {point!r}"
        assert (operation.state, tenant.state) == ("succeeded", "purged"), point
        assert leftovers(cluster, tenant.schema_name) == [], point


def test_a_failed_provisioning_is_undone_even_when_its_undoer_dies(
    template: Any, cluster: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    broken = TemplateVersion.objects.create(
        template=Template.objects.create(name=fresh_slug("broken")),  # its own: others take the newest of theirs
        number=1,
        source="test",
        script=template.script + "\nSELECT 1/0;",
        marker=template.marker,
        fingerprints=template.fingerprints,
        compiled_on=template.compiled_on,
    )
    chosen = []
    for point in [f"remove schema and roles: {point}" for point in POINTS]:
        operation = begin_cold(broken)
        die_at(operation, point)
        chosen.append(operation)
    settle(chosen, worker=mortal_worker)
    for operation in chosen:
        operation.refresh_from_db()
        tenant = Tenant.objects.get(pk=operation.tenant_id)
        assert died(operation)
        assert (operation.state, tenant.state) == ("failed", "failed")
        assert "division by zero" in tenant.state_reason
        assert leftovers(cluster, tenant.schema_name) == []
        assert not SchemaSlot.objects.filter(schema_name=tenant.schema_name).exists()
    again = operations.retry(chosen[0], actor=ACTOR, source=SOURCE)
    assert again.retry_of_id == chosen[0].pk


def test_workers_killed_at_random_leave_every_tenant_active(template: Any, cluster: Any) -> None:
    tenants = [begin_cold(template) for _ in range(12)]
    dice = random.Random(7)
    command = [sys.executable, "-m", "celery", "-A", "controlplane", "worker", "--beat", "--concurrency", "2"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    for _ in range(3):
        with running(command, **LEASE) as process:
            wait_for(lambda p=process: " ready" in p.log, what="the worker's start", seconds=40, running=process)
            time.sleep(dice.uniform(0.05, 0.6))
            process.kill()
    with running(command, **LEASE) as process:
        settle(tenants, worker=process)
    states = set(Tenant.objects.filter(operations__in=tenants).values_list("state", flat=True))
    assert states == {"active"}
    assert orphans(cluster) == set()


def test_a_warm_claim_that_a_worker_finishes_leaves_its_credentials_to_be_collected(
    template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web process is killed between its two transactions: the caller never saw the password."""

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    slug = fresh_slug()
    with monkeypatch.context() as patch:
        patch.setattr(operations.Run, "_begin_step", die)
        with pytest.raises(Killed):
            provision(template, slug=slug)
    operation = Operation.objects.get(tenant__slug=slug)
    assert operation.state == "running"
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=timezone.now())
    operations.work(operation.pk)
    connection = credentials.collect_credentials(operation_id=operation.pk, actor=ACTOR, source=SOURCE)
    assert can_log_in(connection)
