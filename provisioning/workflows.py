"""How each kind of operation on a tenant is carried out: idempotent steps, each of which anybody may run again.

Nothing here decides whether an act is allowed; the services do, when they create the operation.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from provisioning import placement, slots
from provisioning.models import SchemaSlot, TenantCredential
from tenants import access, audit, belongings, databases, metrics, operations, pooling, schemas
from tenants.exceptions import ClusterError, Conflict
from tenants.identifiers import role_name
from tenants.models import Domain, Operation, Tenant, TenantRole
from tenants.models.tenants import on_server
from tenants.operations import Run, Workflow
from tenants.postgres import load_queries, session
from tenants.schemas import roles

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
State = Tenant.State
Login = TenantRole.State


def move(tenant: Tenant, *, to: str, frm: tuple[str, ...], **fields: Any) -> None:
    """Change a tenant's state by compare-and-swap, inside the caller's transaction.

    Raises Conflict when its state is not one of `frm` any more.
    """
    fields |= {"state": to, "updated_at": timezone.now()}
    if not Tenant.objects.filter(pk=tenant.pk, state__in=frm).update(version=F("version") + 1, **fields):
        raise Conflict("The tenant's state has changed meanwhile.", code="state_changed")
    tenant.version += 1
    for field, value in fields.items():
        setattr(tenant, field, value)


def _record(run: Run, action: str, *, before: dict[str, Any] | None = None, **after: Any) -> None:
    audit.record(
        action,
        actor=run.actor,
        source=run.source,
        tenant=run.tenant,
        before=before,
        after={"state": run.tenant.state, **after, "operation": str(run.operation.pk)},
        reason=run.operation.reason,
    )


# --- provision -------------------------------------------------------------------------------------------------


def provision(run: Run) -> None:
    """Make the schema unless a warm slot was claimed, then open the login."""
    slot = slots.of_tenant(run.tenant)
    warm = slot.state == SchemaSlot.State.CLAIMED
    if run.tenant.cluster.host_cluster is not None:
        _make_database(run, slot)
    if not warm:
        for name, work in (("create roles", slots.create_roles), ("clone schema", slots.clone_schema)):
            with run.step(name) as needed:
                if needed:
                    work(slot)
    with run.step("open login") as needed:
        if needed:
            slots.open_login(slot, run.tenant.effective_limits())
    # Only who asked and is still waiting gets them in the answer; whoever took over leaves them to be collected.
    collected = warm and run.attempt == 1
    with run.finish(warm=warm, credentials="collected" if collected else "uncollected"):
        login = slots.first_login(slot)
        activate(run.tenant, login, collected=collected)
        _record(run, "tenant.provision", before={"state": State.PROVISIONING}, schema=slot.schema_name, login=login)


def _make_database(run: Run, slot: SchemaSlot) -> None:
    """Steps: the tenant's own database, empty, and prepared as its server's others are."""
    with run.step("create database") as needed:
        if needed:
            databases.create(slot.cluster)
    with run.step("prepare database") as needed:
        if needed:
            databases.prepare(slot.cluster, slot.template_version.extensions)
            pooling.sync_soon(slot.cluster)


def activate(tenant: Tenant, login: str, *, collected: bool) -> None:
    """The tenant is active and this its login, in the caller's transaction. Raises Conflict."""
    now = timezone.now()
    values = {"tenant": tenant.pk, "login": login, "now": now, "collected_at": now if collected else None}
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["activate"], values)
        changed = cursor.fetchone()
    if changed is None:
        raise Conflict("The tenant's state has changed meanwhile, or its login is gone.", code="state_changed")
    tenant.state, tenant.state_reason, tenant.version, tenant.updated_at = State.ACTIVE, "", changed[0], now


def undo_provision(run: Run) -> None:
    """Leave nothing on the cluster; the tenant stays, failed, to be tried again or deleted."""
    slot = SchemaSlot.objects.select_related("cluster__provisioner").filter(tenant=run.tenant).first()
    with run.step("remove schema and roles") as needed:
        if needed and slot is not None:
            slots.remove_from_cluster(slot.cluster, slot.schema_name)
    if run.tenant.cluster.host_cluster is not None:
        with run.step("drop database again") as needed:
            if needed:
                databases.drop(run.tenant.cluster)
    with run.end():
        if slot is not None:
            slot.delete()
        placement.leave(run.tenant, actor=run.actor, source=run.source)
        TenantRole.objects.filter(tenant=run.tenant).delete()
        error = run.operation.unwinding or {}
        move(run.tenant, to=State.FAILED, frm=(State.PROVISIONING,), state_reason=error.get("message", "")[:500])
        _record(run, "tenant.fail", before={"state": State.PROVISIONING}, error=error)


# --- access on and off -----------------------------------------------------------------------------------------


def _close_all_logins(run: Run) -> None:
    """Step: nobody gets in and nobody is in; checked, not assumed."""
    with run.step("close logins and end sessions") as needed:
        if needed:
            access.shut(run.tenant)


def _open_issued_logins(run: Run) -> None:
    """Step: the logins that had been issued work again, with the passwords they had."""
    with run.step("open logins") as needed:
        if needed:
            issued = TenantRole.objects.filter(tenant=run.tenant).exclude(state=Login.OFF).exclude(secret="")
            with session(run.tenant.cluster.work_dsn()) as link, link.transaction():
                roles.open_logins(link, run.tenant.schema_name, list(issued.values_list("name", flat=True)))
            pooling.await_logins(run.tenant.cluster, {login.name: login.password() for login in issued})


def _open_lent_logins(run: Run) -> None:
    """Step: additional logins that had been shut and not yet dropped work again."""
    with run.step("open additional logins") as needed:
        if needed:
            lent = TenantCredential.objects.filter(
                tenant=run.tenant, closed_at__isnull=True, expires_at__gt=timezone.now()
            )
            schema = run.tenant.schema_name
            with session(run.tenant.cluster.work_dsn()) as link:
                there = set(roles.additional_logins(link, schema))
                names = [name for name in lent.values_list("login", flat=True) if name in there]
                roles.open_logins(link, schema, names)


def _reopen(run: Run) -> None:
    """Undo of closing: a tenant that stays active must be reachable."""
    if run.tenant.state == State.ACTIVE:
        _open_issued_logins(run)
        _open_lent_logins(run)
    with run.end():
        pass


def _close_again(run: Run) -> None:
    """Undo of opening: a tenant that stays suspended or deleted must not be reachable."""
    _close_all_logins(run)
    with run.end():
        pass


def suspend(run: Run) -> None:
    """No access; everything stays."""
    _close_all_logins(run)
    with run.finish():
        move(run.tenant, to=State.SUSPENDED, frm=(State.ACTIVE,), state_reason=run.operation.reason)
        _record(run, "tenant.suspend", before={"state": State.ACTIVE})


def resume(run: Run) -> None:
    """Access as before."""
    _open_issued_logins(run)
    with run.finish():
        move(run.tenant, to=State.ACTIVE, frm=(State.SUSPENDED,), state_reason="")
        _record(run, "tenant.resume", before={"state": State.SUSPENDED})


def delete(run: Run) -> None:
    """No access; everything stays until the grace period ends."""
    _close_all_logins(run)
    now, was = timezone.now(), run.tenant.state
    purge_after = now + timedelta(days=run.operation.params["grace_days"])
    with run.finish():
        move(
            run.tenant,
            to=State.DELETED,
            frm=(State.ACTIVE, State.SUSPENDED),
            restore_state=was,
            deleted_at=now,
            purge_after=purge_after,
            state_reason=run.operation.reason,
        )
        _record(run, "tenant.delete", before={"state": was}, purge_after=purge_after.isoformat())


def undelete(run: Run) -> None:
    """Back to what it was before it was deleted, with the same credentials."""
    back = run.tenant.restore_state
    if back == State.ACTIVE:
        _open_issued_logins(run)
    with run.finish():
        move(
            run.tenant,
            to=back,
            frm=(State.DELETED,),
            restore_state="",
            deleted_at=None,
            purge_after=None,
            state_reason="",
        )
        _record(run, "tenant.undelete", before={"state": State.DELETED})


# --- purge -----------------------------------------------------------------------------------------------------


def purge(run: Run) -> None:
    """Drop the schema in batches, then the roles, then what the registry holds of both."""
    tenant = run.tenant
    place = tenant.cluster
    _close_all_logins(run)
    # From here on it cannot be brought back: undelete looks at this.
    Tenant.objects.filter(pk=tenant.pk).update(restore_state="")
    with run.step("drop what is beside it") as needed:
        if needed:
            belongings.remove_all(tenant, run.alive)
    with run.step("drop schema") as needed:
        if needed:
            slots.remove_from_cluster(place, tenant.schema_name, keep_roles=True, on_batch=lambda _: run.alive())
    with run.step("drop roles") as needed:
        if needed:
            slots.remove_from_cluster(place, tenant.schema_name)
    if place.host_cluster is not None:
        with run.step("drop database") as needed:
            if needed:
                databases.drop(place)
    with session(place.server.work_dsn()) as link:
        schema = tenant.schema_name
        if place.host_cluster is not None and databases.exists(link, place.dbname):
            raise ClusterError("The database of this tenant is still on the server.")
        if schemas.exists(link, schema) or roles.existing(link, schema) or roles.additional_logins(link, schema):
            raise ClusterError("Something of this tenant is still on the cluster.")
    with run.finish():
        SchemaSlot.objects.filter(tenant=tenant).delete()
        TenantRole.objects.filter(tenant=tenant).delete()
        TenantCredential.objects.filter(tenant=tenant, closed_at__isnull=True).update(
            closed_at=timezone.now(), closed_because="The tenant was purged."
        )
        Domain.objects.filter(tenant=tenant).delete()
        placement.leave(tenant, actor=run.actor, source=run.source)
        move(tenant, to=State.PURGED, frm=(State.DELETED,), purge_after=None, deleted_at=None)
        _record(run, "tenant.purge", before={"state": State.DELETED}, schema=tenant.schema_name)


# --- credentials and limits ------------------------------------------------------------------------------------


def rotate(run: Run) -> None:
    """Open the other login; the present one goes on working until the overlap ends."""
    tenant = run.tenant
    new = TenantRole.objects.get(tenant=tenant, name=run.operation.params["login"])
    with run.step("open new login") as needed:
        if needed:
            _open_new_login(tenant, new)
    params, now = run.operation.params, timezone.now()
    # Only who asked and is still waiting gets them in the answer; else they wait to be collected, and the old one too.
    collected = params.get("handed_out", True) and run.attempt == 1
    patient = params.get("patient", False) or not collected
    retire_at = now + timedelta(minutes=params["overlap_minutes"])
    close_by = retire_at + timedelta(days=tenant.plan.rotation_deadline_days) if patient else None
    told = {"retire_at": retire_at.isoformat(), "close_by": close_by.isoformat() if close_by else None}
    with run.finish(login=new.name, **told, credentials="collected" if collected else "uncollected"):
        old = TenantRole.objects.filter(tenant=tenant, state=Login.ACTIVE).exclude(pk=new.pk)
        names = list(old.values_list("name", flat=True))
        old.update(state=Login.RETIRING, retire_at=retire_at, close_by=close_by)
        TenantRole.objects.filter(pk=new.pk).update(
            state=Login.ACTIVE, issued_at=now, collected_at=now if collected else None, last_seen_at=None
        )
        _touch(tenant)
        _record(run, "credentials.rotate", before={"logins": names}, login=new.name, collected=collected, **told)


def _open_new_login(tenant: Tenant, login: TenantRole) -> None:
    schema = tenant.schema_name
    with session(tenant.cluster.work_dsn()) as link, link.transaction():
        roles.apply_limits(link, schema, tenant.effective_limits(), to=[login.name])
        roles.set_password(link, schema, login.name, login.password())
        roles.open_logins(link, schema, [login.name])


def undo_rotate(run: Run) -> None:
    """Close the new login again; the old one was never touched."""
    name = run.operation.params["login"]
    with run.step("close new login") as needed:
        if needed:
            with session(run.tenant.cluster.work_dsn()) as link:
                roles.close_logins(link, run.tenant.schema_name, [name], forget_password=True)
    with run.end():
        TenantRole.objects.filter(tenant=run.tenant, name=name, state=Login.OFF).update(secret="")


def retire_login(run: Run) -> None:
    """Close a login whose overlap has ended, sessions included, and forget its password."""
    name = role_name(run.tenant.schema_name, run.operation.params["suffix"])
    with run.step("close old login") as needed:
        if needed:
            with session(run.tenant.cluster.work_dsn()) as link:
                roles.close_logins(link, run.tenant.schema_name, [name], forget_password=True)
            pooling.end_clients(run.tenant.cluster, [name])
    with run.finish():
        TenantRole.objects.filter(tenant=run.tenant, name=name, state=Login.RETIRING).update(
            state=Login.OFF, secret="", retire_at=None, close_by=None, collected_at=None
        )
        _touch(run.tenant)
        _record(run, "credentials.retire", login=name)


def _touch(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(version=F("version") + 1, updated_at=timezone.now())
    tenant.version += 1


def update(run: Run) -> None:
    """Apply a new plan or other limits to the live logins, then write them down."""
    tenant, params = run.tenant, run.operation.params
    with run.step("apply limits") as needed:
        if needed:
            with session(tenant.cluster.work_dsn()) as link, link.transaction():
                roles.apply_limits(link, tenant.schema_name, params["effective_limits"])
    with run.finish():
        Tenant.objects.filter(pk=tenant.pk).update(**params["fields"])
        _touch(tenant)
        _record(run, "tenant.update", before=params["before"], **params["after"])


def undo_update(run: Run) -> None:
    """Give the logins back the limits that are written down."""
    with run.step("restore limits") as needed:
        if needed:
            tenant = run.tenant
            with session(tenant.cluster.work_dsn()) as link, link.transaction():
                if roles.existing(link, tenant.schema_name):
                    roles.apply_limits(link, tenant.schema_name, tenant.effective_limits())
    with run.end():
        pass


def apply_plan(run: Run) -> None:
    """Apply a changed plan to the logins of all its tenants on one server: roles are the same in each database."""
    tenants = Tenant.objects.filter(
        on_server(run.operation.cluster) if run.operation.cluster else Q(),
        plan__slug=run.operation.params["plan"],
        state__in=[State.ACTIVE, State.SUSPENDED, State.DELETED],
    ).select_related("plan", "cluster__provisioner")
    count = 0
    with run.step("apply limits") as needed:
        if needed and run.operation.cluster is not None:
            with session(run.operation.cluster.work_dsn()) as link:
                for count, tenant in enumerate(tenants.iterator(), start=1):  # noqa: B007
                    roles.apply_limits(link, tenant.schema_name, tenant.effective_limits())
                    run.alive()
    with run.finish(tenants=count):
        pass


def _measure_creation(operation: Operation, outcome: str, seconds: float) -> None:
    warm = operation.started_at == operation.created_at  # whoever asked did it, for a slot was waiting
    metrics.PROVISIONING_SECONDS.labels("warm" if warm else "cold", outcome).observe(seconds)


def register() -> None:
    """Make these known to the operations."""
    from provisioning.services import retry_provision  # the services import this module

    for workflow in (
        Workflow(
            "tenant.provision",
            provision,
            undo_provision,
            retry=retry_provision,
            heavy=True,
            steps=3,
            permission="tenants.add_tenant",
            measure=_measure_creation,
        ),
        Workflow("tenant.suspend", suspend, _reopen),
        Workflow("tenant.resume", resume, _close_again),
        Workflow("tenant.delete", delete, _reopen),
        Workflow("tenant.undelete", undelete, _close_again),
        Workflow("tenant.purge", purge, heavy=True, steps=3, cancellable=False),
        Workflow("tenant.update", update, undo_update),
        Workflow("credentials.rotate", rotate, undo_rotate),
        Workflow("credentials.retire", retire_login),
        Workflow("plan.apply", apply_plan),
    ):
        operations.register(workflow)
