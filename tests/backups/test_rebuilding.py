"""A registry that is lost, and made again from the manifests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from backups.models import Backup, BackupStatus
from backups.services import drills
from provisioning import services
from provisioning.models import SchemaSlot, Template, TemplateVersion
from tenants import operations
from tenants.models import Domain, Operation, Tenant
from tests.backups.support import BY, back_up
from tests.commands.support import call
from tests.provisioning.support import can_log_in


def forget(tenant: Any) -> None:
    """The registry knows nothing of this tenant any more."""
    Backup.objects.filter(origin_id=tenant.pk).delete()
    BackupStatus.objects.filter(tenant=tenant.pk).delete()
    SchemaSlot.objects.filter(tenant=tenant.pk).delete()
    Operation.objects.filter(tenant=tenant.pk).delete()
    Tenant.objects.filter(pk=tenant.pk).delete()
    assert not Domain.objects.filter(tenant_id=tenant.pk).exists()


def test_tenants_come_back_with_their_credentials_and_backups(tenant: Callable[..., Any], disk: Any, home: Any) -> None:
    mine, other = tenant(rows=4), tenant(rows=1)
    Tenant.objects.filter(pk=mine.pk).update(labels={"team": "blue"})
    services.suspend_tenant(tenant_id=other.pk, **BY)
    back_up(mine)
    newest, of_other = back_up(mine), back_up(other)
    for each in (mine, other):
        forget(each)
    told = call("rebuild_registry", disk.name, "--dry-run")
    assert (sorted(told["tenants"]), told["backups"]) == (sorted([mine.slug, other.slug]), 3)
    assert not Tenant.objects.filter(pk=mine.pk).exists()

    done = call("rebuild_registry", disk.name)
    assert done["problems"] == []
    back = Tenant.objects.get(pk=mine.pk)
    assert (back.slug, back.state, back.schema_name) == (mine.slug, "active", mine.schema_name)
    assert Tenant.objects.get(pk=other.pk).state == "suspended"
    assert Domain.objects.filter(tenant=back).count() == 1
    assert can_log_in(mine.connection)
    again = call("rebuild_registry", disk.name)
    assert (again["tenants"], again["backups"], again["problems"]) == ([], 0, [])

    # It is a tenant like all others: rotated, backed up, its old backups restorable.
    rotated = services.rotate_credentials(tenant_id=back.pk, **BY)
    assert rotated.connection is not None
    with psycopg.connect(rotated.connection.dsn, autocommit=True) as session:
        assert session.execute("SELECT count(*) FROM customers WHERE name LIKE 'c%'").fetchone() == (4,)
    assert back_up(Tenant.objects.get(pk=mine.pk)).rows == newest.rows
    drill = drills.run_drill(backup=Backup.objects.get(pk=of_other.pk), **BY)
    operations.work(drill.operation.pk)
    drill.drill.refresh_from_db()
    assert drill.drill.state == "succeeded", drill.drill.error


def test_a_template_that_is_lost_too_is_made_from_the_backup(tenant: Callable[..., Any], disk: Any, home: Any) -> None:
    mine = tenant(rows=2)
    name = f"gone-{mine.schema_name[2:8]}"
    version = home.template
    lost = TemplateVersion.objects.create(
        template=Template.objects.create(name=name), number=3, source="test", script=version.script,
        marker=version.marker, fingerprints=version.fingerprints, compiled_on=version.compiled_on,
    )  # fmt: skip
    SchemaSlot.objects.filter(tenant=mine.pk).update(template_version=lost)
    Tenant.objects.filter(pk=mine.pk).update(template=name, template_version=3)
    back_up(mine)
    forget(mine)
    lost.delete()
    done = call("rebuild_registry", disk.name)
    assert (done["templates"], done["problems"]) == ([f"{name} v3"], [])
    made = services.provision_tenant(
        name="New", slug=f"{name}-new", template=name, cluster=home.cluster.name, respond_async=True, **BY
    )
    assert made.operation is not None
    operations.work(made.operation.pk)
    assert Tenant.objects.get(pk=made.tenant.pk).state == "active", "its script makes true copies"


def test_what_cannot_be_made_is_told_and_the_rest_is_made(tenant: Callable[..., Any], disk: Any, home: Any) -> None:
    mine, other = tenant(), tenant()
    for each in (mine, other):
        back_up(each)
        forget(each)
    with psycopg.connect(home.server.superuser_url, dbname=home.cluster.dbname, autocommit=True) as session:
        session.execute(f"DROP SCHEMA {other.schema_name} CASCADE".encode())
    done = call("rebuild_registry", disk.name)
    assert done["tenants"] == [mine.slug]
    assert len(done["problems"]) == 1
    assert f"schema of {other.slug} is not on" in done["problems"][0]
    assert Backup.objects.filter(origin_id=other.pk, state="succeeded").exists(), "it can be restored as a new tenant"
