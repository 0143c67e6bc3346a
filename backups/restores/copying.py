"""A backup as a new tenant: rows, roles, schema, login."""

from __future__ import annotations

from dataclasses import asdict

from backups.restores.common import check_backup, fill, remember
from backups.workflows import backup_of
from tenants import audit
from tenants.founding import founder
from tenants.operations import Run


def restore_copy(run: Run) -> None:
    """Make the new tenant's roles, its schema from the backup, and open its login, whose password waits to be
    collected."""
    tenant, made = run.tenant, founder()
    backup, source = check_backup(run)
    if tenant.cluster.host_cluster is not None:
        with run.step("create database") as needed:
            if needed:
                made.make_place(tenant)
    with run.step("create roles") as needed:
        if needed:
            made.create_roles(tenant)
    with run.step("restore the data") as needed:
        if needed:
            remember(run, done=asdict(fill(run, tenant.cluster, tenant.schema_name, source, share=(10, 97))))
    with run.step("open login") as needed:
        if needed:
            made.open_login(tenant)
    done = run.operation.params["done"]
    with run.finish(credentials="uncollected", backup=str(backup.pk), **done):
        made.activate(tenant)
        audit.record(
            "backup.restore_copy", actor=run.actor, source=run.source, tenant=tenant, target=backup,
            after={"state": tenant.state, "rows": done["rows"], "bytes": done["bytes"], "of": backup.slug,
                   "snapshot_at": source.manifest.snapshot_at, "operation": str(run.operation.pk)},
            reason=run.operation.reason,
        )  # fmt: skip


def undo(run: Run) -> None:
    """Leave nothing on the cluster; the tenant stays, failed, to be tried again or deleted."""
    tenant, error = run.tenant, run.operation.unwinding or {}
    with run.step("remove schema and roles") as needed:
        if needed:
            founder().remove(tenant)
    with run.end():
        founder().give_up(tenant, str(error.get("message", "")), actor=run.actor, source=run.source)
        audit.record(
            "backup.restore_fail", actor=run.actor, source=run.source, tenant=tenant, target=backup_of(run),
            outcome="failure", after={"error": error, "operation": str(run.operation.pk)},
        )  # fmt: skip
