"""Workers that die over a tenant's own database: at every point of the steps that make it, drop it and take it back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from provisioning import credentials, services
from provisioning.models import Template, TemplateVersion
from tenants import operations, plans
from tenants.models import Cluster, Operation, Plan, Tenant
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in
from tests.provisioning.test_crashes import POINTS, died, mortal_worker, points, settle
from tests.support.databases import maintenance_url
from tests.support.fixtures import fresh_slug
from tests.support.killing_worker import die_at
from tests.support.processes import Running

__all__ = ["mortal_worker"]
WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
MAKE = ("create database", "prepare database")
UNDO = ("remove schema and roles", "drop database again")


@pytest.fixture(scope="module")
def own(plan: Any) -> Plan:
    """A plan whose tenants have databases of their own."""
    return plans.create_plan(slug=fresh_slug("own"), name="Own", isolation_tier="database", **WHO)


def begin(template: TemplateVersion, own: Plan) -> Operation:
    """Provisioning that waits for a worker."""
    made = services.provision_tenant(
        name="Mortal", slug=fresh_slug(), template=template.template.name, plan=own.slug, **WHO
    )
    assert made.operation is not None
    return made.operation


def left(schema: str) -> list[str]:
    """Databases and roles of a tenant that are still on the server, and its row."""
    with psycopg.connect(maintenance_url()) as session:
        rows = session.execute(
            "SELECT datname FROM pg_database WHERE datname = %(s)s UNION ALL"
            " SELECT rolname FROM pg_roles WHERE rolname ^@ %(s)s OR rolname = cp.tenants_group(%(s)s)",
            {"s": schema},
        ).fetchall()
    return [row[0] for row in rows] + list(Cluster.objects.filter(dbname=schema).values_list("name", flat=True))


def test_making_it_survives_a_kill_at_every_point_and_dropping_it_too(
    template: Any, cluster: Any, own: Plan, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    started = {}
    for point in [f"{step}: {point}" for step in MAKE for point in POINTS]:
        operation = begin(template, own)
        die_at(operation, point)
        started[point] = operation
    settle(list(started.values()), worker=mortal_worker)
    tenants = []
    for point, operation in started.items():
        operation.refresh_from_db()
        assert died(operation), f"nobody died at {point!r}"
        assert operation.state == "succeeded", f"{point}: {operation.state} {operation.error}"
        connection = credentials.collect_credentials(operation_id=operation.pk, **WHO)
        assert can_log_in(connection), point
        tenant = Tenant.objects.get(pk=operation.tenant_id)
        assert (tenant.state, connection.dbname) == ("active", tenant.schema_name)
        tenants.append(tenant)
    purges = {}
    for tenant, point in zip(tenants, points(("drop roles", "drop database"))[3:], strict=False):
        deleted = act(services.delete_tenant, tenant).tenant
        purge = act(services.purge_tenant, deleted, confirm_slug=tenant.slug, reason="test", force=True).operation
        die_at(purge, point)
        purges[point] = purge
    assert {"drop database: before", "drop database: begun", "drop database: worked", "finish: committed"} <= set(
        purges
    )
    settle(list(purges.values()), worker=mortal_worker)
    for point, purge in purges.items():
        purge.refresh_from_db()
        tenant = Tenant.objects.get(pk=purge.tenant_id)
        assert died(purge), f"nobody died at {point!r}"
        assert (purge.state, tenant.state, tenant.cluster) == ("succeeded", "purged", cluster), point
        assert left(tenant.schema_name) == [], point
    for tenant in tenants[len(purges) :]:
        begun = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="test", force=True)
        operations.work(begun.operation.pk)


def test_taking_it_back_survives_a_kill_at_every_point(
    template: Any, cluster: Any, own: Plan, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    broken = TemplateVersion.objects.create(
        template=Template.objects.create(name=fresh_slug("broken")), number=1, source="test",
        script=template.script + "\nSELECT 1/0;", marker=template.marker, fingerprints=template.fingerprints,
        compiled_on=template.compiled_on,
    )  # fmt: skip
    chosen = {}
    for point in [f"{step}: {point}" for step in UNDO for point in POINTS]:
        operation = begin(broken, own)
        die_at(operation, point)
        chosen[point] = operation
    schemas = {point: Tenant.objects.get(pk=operation.tenant_id).schema_name for point, operation in chosen.items()}
    settle(list(chosen.values()), worker=mortal_worker)
    for point, operation in chosen.items():
        operation.refresh_from_db()
        tenant = Tenant.objects.get(pk=operation.tenant_id)
        assert died(operation), f"nobody died at {point!r}"
        assert (operation.state, tenant.state, tenant.cluster) == ("failed", "failed", cluster), point
        assert "division by zero" in tenant.state_reason
        assert left(schemas[point]) == [], point
