"""Making tenants."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import Model

from provisioning import placement, pool, resolve, slots
from provisioning.models import SchemaSlot, TemplateVersion
from provisioning.services.common import Provisioned, State, connection_of
from tenants import audit, operations, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict
from tenants.founding import slug_of_its_own
from tenants.identifiers import LOGIN_SUFFIXES, check_labels, check_name, check_slug, new_schema_name, role_name
from tenants.models import Domain, Operation, Tenant, TenantRole, Tier


def provision_tenant(
    *,
    name: str,
    slug: str,
    plan: str | None = None,
    template: str | None = None,
    cluster: str | None = None,
    labels: dict[str, str] | None = None,
    limits: dict[str, int] | None = None,
    respond_async: bool = False,
    actor: Actor,
    source: Source,
) -> Provisioned:
    """Give a new tenant a schema, roles and a login.

    On a plan whose tenants have a database or a cluster of their own nothing is warm: that is made, or taken, first.
    With a warm slot it is active when this returns, and the connection is in the answer; without one (or with
    `respond_async`) a worker makes it, and the connection is None. Raises InvalidInput, Conflict (`slug_taken`),
    Conflict `no_free_cluster`, and what the cluster refuses.
    """
    chosen = resolve.choice(template=template, plan=plan, cluster=cluster)
    shared = chosen.plan.isolation_tier == Tier.SCHEMA
    tenant = Tenant(
        name=check_name(name),
        slug=check_slug(slug),
        plan=chosen.plan,
        cluster=chosen.cluster,
        template=chosen.version.template.name,
        template_version=chosen.version.number,
        labels=check_labels(labels or {}),
        limits=resolve.limits(limits or {}),
    )
    operation = _begin_provisioning(
        tenant, chosen.version, warm=shared and not respond_async, named=cluster is not None, actor=actor, source=source
    )
    if operation.state != Operation.State.RUNNING:
        return Provisioned(tenant, operation)
    operation = operations.execute(operation)
    pool.refill_soon(tenant.cluster)
    password = secrets.decrypt(tenant.slot.secret)
    return Provisioned(tenant, operation, connection_of(tenant, operation.params["login"], password))


def _begin_provisioning(
    tenant: Tenant, version: TemplateVersion, *, warm: bool, named: bool, actor: Actor, source: Source
) -> Operation:
    domain = Domain(tenant=tenant, domain=f"{tenant.slug}.{settings.TENANT_BASE_DOMAIN}", is_primary=True)
    with slug_of_its_own(tenant.slug), transaction.atomic():
        slot = pool.claim_slot(tenant.cluster, version, tenant) if warm else None
        if slot is None:
            tenant.schema_name = new_schema_name()
            placement.place(tenant, named=named, actor=actor, source=source)
            slot = slots.new(tenant.cluster, version, tenant=tenant)
        return _start_provisioning(tenant, slot, tenant, domain, actor=actor, source=source)


def _start_provisioning(
    tenant: Tenant, slot: SchemaSlot, *new_rows: Model, actor: Actor, source: Source, retry_of: Operation | None = None
) -> Operation:
    warm = slot.state == SchemaSlot.State.CLAIMED
    logins = [TenantRole(tenant=tenant, name=role_name(slot.schema_name, suffix)) for suffix in LOGIN_SUFFIXES]
    logins[0].secret = slot.secret
    event = audit.event(
        "tenant.create",
        actor=actor,
        source=source,
        tenant=tenant,
        after={
            "name": tenant.name,
            "plan": tenant.plan.slug,
            "cluster": tenant.cluster.server.name,
            "isolation_tier": tenant.plan.isolation_tier,
            "template": str(slot.template_version),
            "labels": tenant.labels,
            "limits": tenant.limits,
        },
    )
    return operations.create(
        "tenant.provision",
        tenant=tenant,
        params={"login": logins[0].name},
        inline=warm,
        retry_of=retry_of,
        along_with=[*new_rows, *([] if warm else [slot]), *logins, event],
        actor=actor,
        source=source,
    )


def retry_provision(failed: Operation, actor: Actor, source: Source) -> Operation:
    """Provision a failed tenant again, in the caller's transaction: new schema name, newest template version."""
    tenant = failed.tenant
    if tenant is None or tenant.state != State.FAILED:
        raise Conflict("Only a failed tenant can be provisioned again.", code="wrong_state")
    version = resolve.template_version(tenant.template)
    changed = Tenant.objects.filter(pk=tenant.pk, state=State.FAILED).update(
        state=State.PROVISIONING,
        state_reason="",
        schema_name=new_schema_name(),
        template_version=version.number,
        version=tenant.version + 1,
    )
    if not changed:
        raise Conflict("Somebody else is provisioning this tenant again.", code="state_changed")
    tenant.refresh_from_db()
    placement.place(tenant, actor=actor, source=source)
    Tenant.objects.filter(pk=tenant.pk).update(cluster=tenant.cluster)
    slot = slots.new(tenant.cluster, version, tenant=tenant)
    return _start_provisioning(tenant, slot, actor=actor, source=source, retry_of=failed)
