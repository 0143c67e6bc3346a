"""What becomes of a schema that was set aside: put back in its place, or dropped."""

from __future__ import annotations

from collections.abc import Callable

from django.utils import timezone

from backups.models import KeptSchema, RestoreDrill
from backups.restores.common import remove
from backups.restores.replacing import State, belongs_to, exchange, kept_of
from tenants import access, audit, schemas
from tenants.exceptions import Conflict
from tenants.models import Tenant
from tenants.operations import Run
from tenants.postgres import connect
from tenants.schemas.switch import switch


def undo_restore(run: Run) -> None:
    """The same exchange, backwards: the tenant has what it had; what was restored is aside until its deadline."""
    tenant, kept = run.tenant, kept_of(run)
    exchange(run, tenant, kept, live_becomes=kept.incoming_schema, incoming=kept.schema_name)
    with run.finish(kept=kept.pk, kept_schema=kept.incoming_schema):
        was = tenant.template_version
        if not KeptSchema.objects.filter(pk=kept.pk, state=State.KEPT).update(
            state=State.UNDONE, schema_name=kept.incoming_schema, incoming_schema=kept.schema_name,
            template_version=was, settled_at=timezone.now(), settled_by=run.actor.label[:150],
        ):  # fmt: skip
            raise Conflict("It was settled meanwhile.", code="state_changed")
        belongs_to(tenant, kept.template_version)
        audit.record(
            "backup.undo_restore", actor=run.actor, source=run.source, tenant=tenant, target=kept,
            before={"template_version": was},
            after={"template_version": tenant.template_version, "kept_schema": kept.incoming_schema,
                   "operation": str(run.operation.pk)},
            reason=run.operation.reason,
        )  # fmt: skip


def undo_undoing(run: Run) -> None:
    """The tenant keeps what was restored."""
    tenant, kept = run.tenant, kept_of(run)
    with run.step("exchange back") as needed:
        if needed:
            with connect(tenant.cluster.work_dsn(), autocommit=True, statement_timeout_ms=0) as link:
                if not schemas.exists(link, kept.schema_name):
                    access.shut(tenant)
                    switch(link, live=tenant.schema_name, incoming=kept.incoming_schema, aside=kept.schema_name)
    with run.step("open logins again") as needed:
        if needed:
            access.let_in(tenant, kept.logins)
    with run.end():
        pass


def remove_of(tenant: Tenant, alive: Callable[[], None]) -> None:
    """A tenant that is purged leaves nothing that restores have set aside (see `tenants.belongings`)."""
    for kept in KeptSchema.objects.filter(tenant=tenant, cluster__isnull=False).exclude(state=State.DROPPED):
        alive()
        for schema in filter(None, {kept.schema_name, kept.incoming_schema} - {tenant.schema_name}):
            remove(kept.place, schema, alive)
        KeptSchema.objects.filter(pk=kept.pk).update(state=State.DROPPED, logins=[])
    for drill in RestoreDrill.objects.filter(tenant=tenant, dropped_at__isnull=True, cluster=tenant.cluster):
        remove(tenant.cluster, drill.scratch_schema, alive)


def drop_kept(run: Run) -> None:
    """Drop it, in batches, and its roles."""
    kept = kept_of(run)
    with run.step("drop the schema") as needed:
        if needed:
            remove(kept.place, kept.schema_name, run.alive)
    with run.finish(kept=kept.pk):
        KeptSchema.objects.filter(pk=kept.pk, state=State.DROPPING).update(state=State.DROPPED, logins=[])
        audit.record(
            "backup.drop_kept", actor=run.actor, source=run.source, tenant=kept.tenant, target=kept,
            after={"schema": kept.schema_name, "operation": str(run.operation.pk)}, reason=run.operation.reason,
        )  # fmt: skip
