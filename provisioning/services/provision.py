"""Making tenants."""

from __future__ import annotations

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from provisioning import pool, resolve, slots
from provisioning.models import SchemaSlot, TemplateVersion
from provisioning.services.common import Provisioned, State, connection_of
from tenants import audit, operations, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict
from tenants.identifiers import LOGIN_SUFFIXES, check_labels, check_name, check_slug, new_schema_name, role_name
from tenants.models import Domain, Operation, Tenant, TenantRole


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

    With a warm slot it is active when this returns, and the connection is in the answer; without one (or with
    `respond_async`) a worker makes it, and the connection is None. Raises InvalidInput, Conflict (`slug_taken`),
    and what the cluster refuses.
    """
    version = resolve.template_version(template)
    tenant = Tenant(
        name=check_name(name),
        slug=check_slug(slug),
        plan=resolve.plan(plan),
        cluster=resolve.cluster(cluster),
        template=version.template.name,
        template_version=version.number,
        labels=check_labels(labels or {}),
        limits=resolve.limits(limits or {}),
    )
    password = secrets.new_password()
    operation = _begin_provisioning(tenant, version, password, warm=not respond_async, actor=actor, source=source)
    if operation.state != Operation.State.RUNNING:
        return Provisioned(tenant, operation)
    operation = operations.execute(operation)
    pool.refill_soon(tenant.cluster)
    return Provisioned(tenant, operation, connection_of(tenant, operation.params["login"], password))


def _begin_provisioning(
    tenant: Tenant, version: TemplateVersion, password: str, *, warm: bool, actor: Actor, source: Source
) -> Operation:
    try:
        with transaction.atomic():
            slot = pool.claim_slot(tenant.cluster, version, tenant) if warm else None
            if slot is None:
                tenant.schema_name = new_schema_name()
            _insert(tenant)
            return _start_provisioning(tenant, version, slot, password, actor=actor, source=source)
    except IntegrityError as error:
        if "live_slug_once" in str(error) or "domain" in str(error):
            raise Conflict(
                f"The slug '{tenant.slug}' is taken.", code="slug_taken", hint="Choose another one."
            ) from error
        raise


def _insert(tenant: Tenant) -> None:
    # bulk_create: the save() methods of django-tenants look for names and primary domains that cannot exist yet.
    Tenant.objects.bulk_create([tenant])
    domain = f"{tenant.slug}.{settings.TENANT_BASE_DOMAIN}"
    Domain.objects.bulk_create([Domain(tenant=tenant, domain=domain, is_primary=True)])


def _start_provisioning(
    tenant: Tenant,
    version: TemplateVersion,
    slot: SchemaSlot | None,
    password: str,
    *,
    actor: Actor,
    source: Source,
    retry_of: Operation | None = None,
) -> Operation:
    if slot is not None:
        slot.state, slot.tenant, slot.claimed_at = SchemaSlot.State.CLAIMED, tenant, timezone.now()
        slot.save(update_fields=["state", "tenant", "claimed_at"])
    else:
        slots.reserve(tenant.cluster, version, tenant=tenant)
    names = [role_name(tenant.schema_name, suffix) for suffix in LOGIN_SUFFIXES]
    logins = [TenantRole(tenant=tenant, name=role) for role in names]
    logins[0].set_password(password)
    TenantRole.objects.bulk_create(logins)
    audit.record(
        "tenant.create",
        actor=actor,
        source=source,
        tenant=tenant,
        after={
            "name": tenant.name,
            "plan": tenant.plan.slug,
            "cluster": tenant.cluster.name,
            "template": str(version),
            "labels": tenant.labels,
            "limits": tenant.limits,
        },
    )
    return operations.create(
        "tenant.provision",
        tenant=tenant,
        params={"login": names[0]},
        inline=slot is not None,
        retry_of=retry_of,
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
    return _start_provisioning(
        tenant, version, None, secrets.new_password(), actor=actor, source=source, retry_of=failed
    )
