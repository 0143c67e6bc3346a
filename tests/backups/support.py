"""Tenants to back up, and looking at what lies in a storage."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.utils import timezone

from backups.models import Backup, BackupStatus, Storage
from backups.services import policies, storages, take
from backups.storage.opening import open_storage
from provisioning import pool, services
from tenants import operations
from tenants.models import AuditEvent, Operation, Tenant
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

BY: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


@dataclass
class Home:
    """Where tenants live."""

    server: Any
    cluster: Any
    template: Any

    def tenant(self, rows: int, disk: Storage, **override: Any) -> Any:
        """A tenant with so many customers; `override` are values of its policy."""
        assert pool.fill_one(self.cluster, self.template, 1)
        made = services.provision_tenant(
            name="Acme", slug=fresh_slug(), template=self.template.template.name, cluster=self.cluster.name, **BY
        )
        assert made.connection is not None
        add_customers(made.connection, rows)
        policies.set_override(tenant=made.tenant, values=override, storage=disk, **BY)
        tenant = Tenant.objects.select_related("plan", "cluster", "slot").get(pk=made.tenant.pk)
        tenant.connection = made.connection
        return tenant


def add_customers(connection: Any, rows: int, *, width: int = 0) -> None:
    """So many customers with names, each of random letters that hardly compress."""
    with psycopg.connect(connection.dsn, autocommit=True) as session:
        session.execute(
            "INSERT INTO customers (name) SELECT 'c' || n || %s || coalesce((SELECT string_agg(md5(random()::text || n"
            " || w), '') FROM generate_series(1, %s) AS w), '') FROM generate_series(1, %s) AS n",
            [secrets.token_hex(4), width // 32, rows],
        )


def new_disk(path: Path, **values: Any) -> Storage:
    """A directory as a storage."""
    name = f"disk-{secrets.token_hex(6)}"
    return storages.create_storage(name=name, kind="local", config={"path": str(path)}, **BY, **values)


def back_up(tenant: Any, **values: Any) -> Backup:
    """A backup, taken here and now."""
    asked = take.backup_tenant(tenant_id=tenant.pk, **values, **BY)
    operations.work(asked.operation.pk)
    asked.operation.refresh_from_db()
    assert asked.operation.state == Operation.State.SUCCEEDED, asked.operation.error
    return Backup.objects.get(pk=asked.backup.pk)


def keys(disk: Storage) -> list[str]:
    """What lies in a storage."""
    return [found.key for found in open_storage(disk).list("")]


def prefixes(disk: Storage) -> set[str]:
    """Below which prefixes something lies in a storage."""
    return {key.rpartition("/")[0] for key in keys(disk)}


def whole(disk: Storage) -> set[str]:
    """Prefixes with a manifest: what looks like a backup."""
    return {key.rpartition("/")[0] for key in keys(disk) if key.endswith("/manifest.json")}


def make_due(*tenants: Any) -> None:
    """Make these due now, and nobody else on their cluster."""
    for tenant in tenants:
        BackupStatus.objects.get_or_create(tenant=tenant)
    rows = BackupStatus.objects.filter(tenant__cluster=tenants[0].cluster_id)
    rows.update(next_at=timezone.now() + timedelta(days=3), planned_at=timezone.now())
    mine = BackupStatus.objects.filter(tenant__in=[tenant.pk for tenant in tenants])
    mine.update(next_at=timezone.now() - timedelta(minutes=1), window_ends_at=timezone.now() + timedelta(hours=1))


def age(backup: Backup, **ago: Any) -> None:
    """Make a backup older than it is."""
    moment = timezone.now() - timedelta(**ago)
    Backup.objects.filter(pk=backup.pk).update(snapshot_at=moment, created_at=moment, finished_at=moment)


def events(action: str, target: Any) -> Any:
    """What the audit log says of an object."""
    return AuditEvent.objects.filter(action=action, target_id=str(target.pk)).order_by("id")
