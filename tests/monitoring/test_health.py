"""How a tenant is: each check by its real condition, from samples within milliseconds, or looked at now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.utils import timezone
from psycopg import sql

from backups.models import BackupStatus, RestoreDrill
from monitoring import health, partitions
from monitoring.models import ProbeState, TenantActivity, TenantLook, TenantSize
from provisioning import services
from tenants import health as registry
from tenants.models import Cluster, IsolationCheck, IsolationFinding, Tenant, TenantRole
from tenants.postgres import connect
from tests.commands.support import manage
from tests.provisioning.support import act, provision
from tests.rest.support import problem
from tests.support.api import ApiClient

NAMES = [
    "state", "reachable", "schema", "row_level_security", "isolation", "connections", "size", "backup",
    "proven_restore", "slow_queries",
]  # fmt: skip
LIVE = ["reachable", "schema", "row_level_security", "connections", "size"]


@pytest.fixture(scope="module")
def made(template: Any) -> Any:
    """A tenant, new and unbroken."""
    return provision(template)


@pytest.fixture
def tenant(made: Any) -> Tenant:
    return Tenant.objects.select_related("plan", "cluster__host_cluster").get(pk=made.tenant.pk)


@pytest.fixture
def reader(api_client: Callable[..., ApiClient]) -> ApiClient:
    return api_client("tenants:read")


@pytest.fixture
def owner(tenant: Tenant) -> Iterator[Any]:
    """Somebody who changes what they should not."""
    with connect(tenant.cluster.dsn(), autocommit=True) as session:

        def change(*statements: str) -> None:
            with session.transaction():
                session.execute("SELECT cp.take_owner(%s)", [tenant.schema_name])
                session.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(tenant.schema_name + "_owner")))
                session.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(tenant.schema_name)))
                for statement in statements:
                    session.execute(statement.encode())
                session.execute("RESET ROLE")
                session.execute("SELECT cp.release_owner(%s)", [tenant.schema_name])

        yield change


def checks(found: health.Health) -> dict[str, registry.Check]:
    return {check.name: check for check in found.checks}


def look(tenant: Tenant) -> dict[str, registry.Check]:
    return checks(health.live_health(tenant=tenant))


def known(tenant: Tenant) -> dict[str, registry.Check]:
    return checks(health.tenant_health(tenant=tenant))


def sample(tenant: Tenant, **values: Any) -> None:
    """A look of both probes at all there is to see of the tenant."""
    at = timezone.now()
    of = {"cluster_id": tenant.cluster_id, "tenant_id": tenant.pk, "taken_at": at}
    partitions.ensure(TenantActivity, [at])
    partitions.ensure(TenantSize, [at])
    numbers = {"connections": 3, "connection_limit": 50, "calls": 10, "total_seconds": 0.5, "span_seconds": 60} | values
    total = numbers.pop("total_bytes", 1_000_000)
    TenantActivity.objects.create(**of, **numbers)
    TenantSize.objects.create(**of, total_bytes=total, quota_bytes=10**10)
    for probe in ("activity", "sizes"):
        ProbeState.objects.update_or_create(
            cluster_id=tenant.cluster_id, probe=probe, defaults={"tried_at": at, "ok_at": at, "unavailable": ""}
        )


def settle(tenant: Tenant) -> None:
    """Everything about it is well."""
    now = timezone.now()
    sample(tenant)
    IsolationCheck.objects.create(cluster=tenant.cluster, started_at=now)
    BackupStatus.objects.update_or_create(
        tenant=tenant, defaults={"covered_until": now, "last_proven_at": now, "failures": 0, "last_error": ""}
    )
    health.look_at(tenant)


def test_all_is_well(tenant: Tenant, reader: ApiClient) -> None:
    settle(tenant)
    answer = reader.get(f"tenants/{tenant.pk}/health").json()
    assert [check["name"] for check in answer["checks"]] == NAMES
    assert {check["name"]: check["status"] for check in answer["checks"]} == dict.fromkeys(NAMES, "ok")
    assert (answer["status"], answer["live"], answer["slug"]) == ("ok", False, tenant.slug)
    for check in answer["checks"]:
        assert check["taken_at"] is not None, check
        assert check["reason"], check
        assert check["next_step"] == "", check
    found = {check["name"]: check for check in answer["checks"]}
    assert (found["connections"]["value"], found["connections"]["limit"]) == (3, 50)
    assert found["slow_queries"]["value"] == 0.05


def test_nothing_known_is_not_well_nor_ill(template: Any, reader: ApiClient) -> None:
    tenant = provision(template).tenant
    answer = reader.get(f"tenants/{tenant.pk}/health").json()
    found = {check["name"]: check["status"] for check in answer["checks"]}
    assert {found[name] for name in ("reachable", "schema", "row_level_security", "connections", "size")} == {"unknown"}
    assert answer["status"] == "unknown"


def test_live_looks_at_the_cluster_itself(tenant: Tenant, made: Any, reader: ApiClient) -> None:
    TenantLook.objects.filter(tenant=tenant).delete()
    cache.delete(f"controlplane:health-live:{tenant.pk}")
    with psycopg.connect(made.connection.dsn), psycopg.connect(made.connection.dsn):
        answer = reader.get(f"tenants/{tenant.pk}/health?live=true").json()
    found = {check["name"]: check for check in answer["checks"]}
    assert answer["live"] is True
    assert {found[name]["status"] for name in LIVE} == {"ok"}
    assert found["connections"]["value"] == 2
    assert found["size"]["value"] > 8192
    assert found["reachable"]["value"] < 1
    # Once in five seconds for each tenant.
    refused = reader.get(f"tenants/{tenant.pk}/health?live=true")
    assert problem(refused, 429, "throttled")
    assert int(refused["Retry-After"]) <= 5
    assert reader.get(f"tenants/{tenant.pk}/health").status_code == 200
    # What it found is known from now on.
    assert known(tenant)["reachable"].status == "ok"


def test_a_changed_schema_and_a_bare_table_are_found(tenant: Tenant, owner: Any) -> None:
    owner("ALTER TABLE customers DISABLE ROW LEVEL SECURITY")
    try:
        found = look(tenant)
        assert found["row_level_security"].status == "critical"
        assert "customers" in found["row_level_security"].reason
        assert found["schema"].status == "warning"
        assert health.tenant_health(tenant=tenant).status == "critical"
    finally:
        owner("ALTER TABLE customers ENABLE ROW LEVEL SECURITY")
    found = look(tenant)
    assert (found["row_level_security"].status, found["schema"].status) == ("ok", "ok")


def test_a_login_that_does_not_get_in(tenant: Tenant) -> None:
    role = TenantRole.objects.get(tenant=tenant, state="active")
    kept = role.secret
    role.set_password("another one")
    role.save(update_fields=["secret"])
    try:
        found = look(tenant)
    finally:
        TenantRole.objects.filter(pk=role.pk).update(secret=kept)
    assert found["reachable"].status == "critical"
    assert found["reachable"].next_step
    assert found["schema"].status == "ok"
    assert look(tenant)["reachable"].status == "ok"


@pytest.mark.parametrize(("used", "status"), [(39, "ok"), (40, "warning"), (48, "critical")])
def test_connections_against_the_limit(tenant: Tenant, used: int, status: str) -> None:
    sample(tenant, connections=used)
    assert known(tenant)["connections"].status == status


@pytest.mark.parametrize(("share", "status"), [(0.79, "ok"), (0.81, "warning"), (0.96, "critical")])
def test_size_against_the_quota(tenant: Tenant, share: float, status: str) -> None:
    sample(tenant, total_bytes=int(share * tenant.effective_limits()["storage_quota_bytes"]))
    assert known(tenant)["size"].status == status


@pytest.mark.parametrize(("mean", "status"), [(0.5, "ok"), (1.5, "warning"), (6, "critical")])
def test_slow_queries(tenant: Tenant, mean: float, status: str) -> None:
    sample(tenant, calls=10, total_seconds=10 * mean)
    assert known(tenant)["slow_queries"].status == status
    assert known(tenant)["slow_queries"].value == mean


def test_no_statements_are_no_slow_ones_and_a_missing_extension_is_said(tenant: Tenant) -> None:
    sample(tenant, calls=0, total_seconds=0)
    assert known(tenant)["slow_queries"].status == "ok"
    sample(tenant, calls=None, total_seconds=None)
    ProbeState.objects.filter(cluster=tenant.cluster, probe="activity").update(unavailable="no pg_stat_statements")
    assert known(tenant)["slow_queries"].status == "unknown"
    assert known(tenant)["slow_queries"].reason == "no pg_stat_statements"


def test_old_samples_are_no_figures_of_now(tenant: Tenant) -> None:
    sample(tenant)
    old = timezone.now() - timedelta(minutes=20)
    ProbeState.objects.filter(cluster=tenant.cluster).update(ok_at=old)
    found = known(tenant)["connections"]
    assert (found.status, found.value, found.taken_at) == ("unknown", None, old)
    assert "No data since" in found.reason


def test_old_looks_are_no_news(tenant: Tenant) -> None:
    health.look_at(tenant)
    TenantLook.objects.filter(tenant=tenant).update(taken_at=timezone.now() - timedelta(hours=4))
    found = known(tenant)
    assert (found["reachable"].status, found["schema"].status) == ("unknown", "ok")  # that one has a day


def test_backups_and_drills(tenant: Tenant) -> None:
    settle(tenant)
    status = BackupStatus.objects.filter(tenant=tenant)
    status.update(failures=1, last_error="the disk is full")
    assert known(tenant)["backup"].status == "critical"
    assert "the disk is full" in known(tenant)["backup"].reason
    status.update(failures=0, covered_until=timezone.now() - timedelta(days=3))
    assert known(tenant)["backup"].status == "critical"
    assert "too old" in known(tenant)["backup"].reason
    status.update(covered_until=timezone.now(), last_proven_at=timezone.now() - timedelta(days=100))
    assert (known(tenant)["backup"].status, known(tenant)["proven_restore"].status) == ("ok", "warning")
    from backups.models import Backup

    backup = Backup.objects.create(
        tenant=tenant, origin_id=tenant.pk, slug=tenant.slug, schema_name=tenant.schema_name, template="tiny",
        template_version=1, state="failed",
    )  # fmt: skip
    RestoreDrill.objects.create(backup=backup, tenant=tenant, state="failed", error="2 rows are missing")
    assert known(tenant)["proven_restore"].status == "critical"
    assert "2 rows" in known(tenant)["proven_restore"].reason
    backup.delete()


def test_findings_of_isolation(tenant: Tenant) -> None:
    settle(tenant)
    now = timezone.now()
    row = IsolationFinding.objects.create(
        cluster=tenant.cluster, tenant=tenant, code="grant", severity="critical", subject="x", first_seen_at=now,
        last_seen_at=now,
    )  # fmt: skip
    assert known(tenant)["isolation"].status == "critical"
    row.delete()
    assert known(tenant)["isolation"].status == "ok"


def test_a_suspended_tenant_is_a_warning_and_nobody_tries_its_login(template: Any) -> None:
    tenant = provision(template).tenant
    act(services.suspend_tenant, tenant, reason="invoice overdue")
    tenant.refresh_from_db()
    found = look(tenant)
    assert found["state"].status == "warning"
    assert "invoice overdue" in found["state"].reason
    assert "reachable" not in found


def test_a_cluster_that_is_away_is_said_within_its_timeouts(tenant: Tenant) -> None:
    away = Cluster.objects.get(pk=tenant.cluster_id)
    away.is_default, away.host, away.port, away.secret = False, "127.0.0.1", 1, tenant_secret()
    tenant.cluster = away
    begun = time.monotonic()
    found = look(tenant)
    assert time.monotonic() - begun < 12
    assert found["reachable"].status == "critical"
    assert {found[name].status for name in LIVE[1:]} == {"unknown"}
    TenantLook.objects.filter(tenant=tenant).delete()


def tenant_secret() -> str:
    from tenants import secrets

    return secrets.encrypt("x")


def test_all_have_their_turn(template: Any, tenant: Tenant) -> None:
    first, second = provision(template).tenant, provision(template).tenant
    cache.delete("controlplane:health-rotation")
    now = timezone.now()
    others = Tenant.objects.filter(state="active").exclude(pk__in=[first.pk, second.pk])
    TenantLook.objects.bulk_create(
        [TenantLook(tenant=other, name="reachable", taken_at=now, status="ok") for other in others],
        update_conflicts=True, unique_fields=["tenant", "name"], update_fields=["taken_at"],
    )  # fmt: skip
    health.rotate()  # new ones do not wait for their turn
    assert TenantLook.objects.filter(tenant__in=[first, second], name="reachable").count() == 2
    looks = {row.name: row.status for row in TenantLook.objects.filter(tenant=first)}
    assert looks == {"reachable": "ok", "schema": "ok", "row_level_security": "ok"}
    # Who was looked at longest ago comes next; a schema has its turn once a day.
    TenantLook.objects.filter(tenant=second).update(taken_at=timezone.now() - timedelta(hours=2))
    before = TenantLook.objects.get(tenant=second, name="schema").taken_at
    for _ in range(40):
        health.rotate()
        if TenantLook.objects.get(tenant=second, name="reachable").taken_at > before + timedelta(hours=1):
            break
    assert TenantLook.objects.get(tenant=second, name="reachable").taken_at > before + timedelta(hours=1)
    assert TenantLook.objects.get(tenant=second, name="schema").taken_at == before


def test_an_answer_from_samples_takes_a_handful_of_queries(
    tenant: Tenant, reader: ApiClient, django_assert_max_num_queries: Any
) -> None:
    settle(tenant)
    url = f"tenants/{tenant.pk}/health"
    reader.get(url)
    with django_assert_max_num_queries(11):
        assert reader.get(url).json()["status"] == "ok"


def test_who_is_not_there_and_what_is_not_understood(
    reader: ApiClient, tenant: Tenant, template: Any, api_client: Callable[..., ApiClient]
) -> None:
    problem(reader.get("tenants/00000000-0000-0000-0000-000000000000/health"), 404, "not_found")
    problem(reader.get(f"tenants/{tenant.pk}/health?live=maybe"), 400, "invalid")
    problem(reader.get(f"tenants/{tenant.pk}/health?lively=true"), 400, "unknown_parameter")


def test_the_command_tells_by_its_exit_code(tenant: Tenant) -> None:
    settle(tenant)
    ran = manage("tenant_health", tenant.slug, "--json")
    assert ran.code == 0, ran.err
    sample(tenant, connections=41)
    assert manage("tenant_health", tenant.slug).code == 9
    sample(tenant, connections=50)
    ran = manage("tenant_health", tenant.slug)
    assert ran.code == 10
    assert "50 of 50 connections" in " ".join(ran.out.split())
    assert manage("tenant_health", "nobody-of-that-name").code == 4


def test_the_tenants_page_in_the_admin_shows_the_same(tenant: Tenant, admin_client: Any) -> None:
    settle(tenant)
    sample(tenant, connections=41)
    response = admin_client.get(f"/admin/boards/tenant/{tenant.pk}/summary/")
    assert response.status_code == 200
    page = " ".join(response.content.decode().split())
    assert "Health: warning" in page
    assert "41 of 50 connections are in use." in page
    for check in known(tenant).values():
        assert check.title in page
