"""The one way in: admin, REST, commands and beat call these functions and nothing below them.

Each checks whether the act is allowed, writes down the operation and the audit event in one transaction, and then
has the work done: here and now where it takes milliseconds, by a worker where it takes longer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from provisioning import pool, resolve, slots
from provisioning.models import SchemaSlot, TemplateVersion
from tenants import audit, operations, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound, PreconditionFailed
from tenants.identifiers import LOGIN_SUFFIXES, check_labels, check_name, check_slug, new_schema_name, role_name
from tenants.models import Domain, Operation, Plan, Tenant, TenantRole

State = Tenant.State
Login = TenantRole.State


@dataclass(frozen=True)
class Connection:
    """What a tenant's application connects with. The password is in clear: show it once, keep it nowhere."""

    host: str
    port: int
    dbname: str
    user: str
    password: str
    search_path: str

    @property
    def dsn(self) -> str:
        """The same as one URL."""
        return f"postgresql://{self.user}:{quote(self.password, safe='')}@{self.host}:{self.port}/{quote(self.dbname)}"

    def __repr__(self) -> str:
        return f"Connection({self.user}@{self.host}:{self.port}/{self.dbname})"

    def as_dict(self) -> dict[str, Any]:
        """All fields and the DSN, for the one answer that shows them."""
        return {**asdict(self), "dsn": self.dsn}


@dataclass(frozen=True)
class Outcome:
    """A tenant after an act, and the operation that did it."""

    tenant: Tenant
    operation: Operation | None


@dataclass(frozen=True)
class Provisioned(Outcome):
    """With the credentials; without them when a worker is still at it (see `credentials.collect_credentials`)."""

    connection: Connection | None = None


def connection_of(tenant: Tenant, login: str, password: str) -> Connection:
    """The connection that the login of this name of `tenant` is used with."""
    host, port = tenant.cluster.public_address()
    slot = SchemaSlot.objects.select_related("template_version").defer("template_version__script").get(tenant=tenant)
    path = ", ".join(slots.search_path(slot))
    return Connection(host, port, tenant.cluster.dsn().dbname, login, password, path)


# --- provision -------------------------------------------------------------------------------------------------


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
    pool.refill_soon(tenant.cluster)
    operation = operations.execute(operation)
    return Provisioned(tenant, operation, connection_of(tenant, operation.params["login"], password))


def _begin_provisioning(
    tenant: Tenant, version: TemplateVersion, password: str, *, warm: bool, actor: Actor, source: Source
) -> Operation:
    try:
        with transaction.atomic():
            slot = pool.claim_slot(tenant.cluster, version, tenant) if warm else None
            if slot is None:
                tenant.schema_name = new_schema_name()
            tenant.save(force_insert=True)
            _domain_of(tenant)
            return _start_provisioning(tenant, version, slot, password, actor=actor, source=source)
    except IntegrityError as error:
        if "live_slug_once" in str(error) or "domain" in str(error):
            raise Conflict(
                f"The slug '{tenant.slug}' is taken.", code="slug_taken", hint="Choose another one."
            ) from error
        raise


def _domain_of(tenant: Tenant) -> None:
    # bulk_create: DomainMixin.save() would look for other primary domains, of which a new tenant has none.
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
        SchemaSlot.objects.filter(pk=slot.pk).update(
            state=SchemaSlot.State.CLAIMED, tenant=tenant, claimed_at=timezone.now()
        )
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
        params={"login": names[0], "collected": slot is not None},
        inline=slot is not None,
        retry_of=retry_of,
        actor=actor,
        source=source,
    )


def retry_provision(failed: Operation, actor: Actor, source: Source) -> Operation:
    """Provision a failed tenant again, under a new schema name, in the caller's transaction."""
    tenant = failed.tenant
    if tenant is None or tenant.state != State.FAILED:
        raise Conflict("Only a failed tenant can be provisioned again.", code="wrong_state")
    tenant.schema_name = new_schema_name()
    changed = Tenant.objects.filter(pk=tenant.pk, state=State.FAILED).update(
        state=State.PROVISIONING, state_reason="", schema_name=tenant.schema_name, version=tenant.version + 1
    )
    if not changed:
        raise Conflict("Somebody else is provisioning this tenant again.", code="state_changed")
    tenant.refresh_from_db()
    version = TemplateVersion.objects.select_related("template").get(
        template__name=tenant.template, number=tenant.template_version
    )
    return _start_provisioning(
        tenant, version, None, secrets.new_password(), actor=actor, source=source, retry_of=failed
    )


# --- lifecycle -------------------------------------------------------------------------------------------------


def get_tenant(tenant_id: Any) -> Tenant:
    """The tenant with this id. Raises NotFound (also for what is no id at all)."""
    try:
        return Tenant.objects.select_related("plan", "cluster").get(pk=tenant_id)
    except (Tenant.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound(f"There is no tenant {tenant_id}.") from error


def _require(tenant: Tenant, act: str, *states: str) -> None:
    if tenant.state not in states:
        raise Conflict(
            f"A tenant that is {tenant.state} cannot be {act}.",
            code="wrong_state",
            hint=f"It must be {' or '.join(states)}.",
            state=tenant.state,
        )


def _act(kind: str, tenant: Tenant, *, reason: str, actor: Actor, source: Source, **params: Any) -> Outcome:
    """Carry out an act on a tenant here and now, as an operation that survives this process."""
    with transaction.atomic():
        operation = operations.create(
            kind, tenant=tenant, params=params, reason=reason, inline=True, actor=actor, source=source
        )
    operation = operations.execute(operation)
    return Outcome(get_tenant(tenant.pk), operation)


def suspend_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Shut a tenant out: its logins are closed and its sessions ended. Raises Conflict unless it is active."""
    tenant = get_tenant(tenant_id)
    _require(tenant, "suspended", State.ACTIVE)
    return _act("tenant.suspend", tenant, reason=check_reason(reason), actor=actor, source=source)


def resume_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Let a suspended tenant in again, with the credentials it had."""
    tenant = get_tenant(tenant_id)
    _require(tenant, "resumed", State.SUSPENDED)
    return _act("tenant.resume", tenant, reason=check_reason(reason), actor=actor, source=source)


def delete_tenant(
    *, tenant_id: Any, reason: str = "", grace_days: int | None = None, actor: Actor, source: Source
) -> Outcome:
    """Shut a tenant out and start its grace period (the plan's, 7 days by default), after which it is purged.

    A tenant that never came to be (`failed`) has nothing to keep and is purged at once.
    """
    tenant = get_tenant(tenant_id)
    _require(tenant, "deleted", State.ACTIVE, State.SUSPENDED, State.FAILED)
    if tenant.state == State.FAILED:
        return _forget_failed(tenant, reason=check_reason(reason), actor=actor, source=source)
    days = tenant.plan.grace_days if grace_days is None else grace_days
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 365:
        raise InvalidInput("The grace period has 0 to 365 days.", field="grace_days")
    return _act("tenant.delete", tenant, reason=check_reason(reason), grace_days=days, actor=actor, source=source)


def _forget_failed(tenant: Tenant, *, reason: str, actor: Actor, source: Source) -> Outcome:
    with transaction.atomic():
        if not Tenant.objects.filter(pk=tenant.pk, state=State.FAILED).update(
            state=State.PURGED, version=tenant.version + 1
        ):
            raise Conflict("The tenant's state has changed meanwhile.", code="state_changed")
        Domain.objects.filter(tenant=tenant).delete()
        after = {"state": State.PURGED}
        audit.record(
            "tenant.purge", actor=actor, source=source, tenant=tenant,
            before={"state": State.FAILED}, after=after, reason=reason,
        )  # fmt: skip
    return Outcome(get_tenant(tenant.pk), None)


def undelete_tenant(*, tenant_id: Any, reason: str = "", actor: Actor, source: Source) -> Outcome:
    """Bring a deleted tenant back as it was. Raises Conflict once its purge has begun."""
    tenant = get_tenant(tenant_id)
    _require(tenant, "undeleted", State.DELETED)
    if not tenant.restore_state:
        raise Conflict("The purge of this tenant has begun; it cannot be brought back.", code="purge_begun")
    return _act("tenant.undelete", tenant, reason=check_reason(reason), actor=actor, source=source)


def purge_tenant(
    *, tenant_id: Any, confirm_slug: str, reason: str, force: bool = False, actor: Actor, source: Source
) -> Outcome:
    """Destroy a deleted tenant for good; a worker does it. `confirm_slug` must be its slug, typed again.

    Before the grace period is over, and for tenants that are not deleted, only with `force`.
    """
    tenant = get_tenant(tenant_id)
    if confirm_slug != tenant.slug:
        raise InvalidInput("The confirmation is not this tenant's slug.", field="confirm_slug")
    if not check_reason(reason):
        raise InvalidInput("A purge needs a reason.", field="reason")
    early = tenant.purge_after is not None and tenant.purge_after > timezone.now()
    if early and not force:
        raise Conflict("The grace period is not over.", code="grace_period", hint="Use force to purge it now.")
    if force and tenant.state in (State.ACTIVE, State.SUSPENDED):
        delete_tenant(tenant_id=tenant.pk, reason=reason, grace_days=0, actor=actor, source=source)
        tenant = get_tenant(tenant_id)
    _require(tenant, "purged", State.DELETED)
    with transaction.atomic():
        operation = operations.create("tenant.purge", tenant=tenant, reason=reason, actor=actor, source=source)
        audit.record("tenant.purge_requested", actor=actor, source=source, tenant=tenant, reason=reason)
    return Outcome(tenant, operation)


MAX_REASON = 500


def check_reason(text: str) -> str:
    """Return `text` stripped if it can be a reason: at most 500 characters, no control characters."""
    if not isinstance(text, str) or len(text) > MAX_REASON or any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise InvalidInput(f"A reason is a text of at most {MAX_REASON} characters.", field="reason")
    return text.strip()


def rotate_credentials(
    *, tenant_id: Any, overlap_minutes: int | None = None, reason: str = "", actor: Actor, source: Source
) -> Provisioned:
    """A new login and password; the old one works until the overlap (the plan's by default) ends.

    With an overlap of 0 the old login is closed before this returns. Raises Conflict while an earlier rotation's
    overlap lasts, unless the overlap is 0: then that one is closed first.
    """
    tenant = get_tenant(tenant_id)
    _require(tenant, "given new credentials", State.ACTIVE)
    overlap = tenant.plan.rotation_overlap_minutes if overlap_minutes is None else overlap_minutes
    if isinstance(overlap, bool) or not isinstance(overlap, int) or not 0 <= overlap <= 43_200:
        raise InvalidInput("The overlap has 0 to 43200 minutes (30 days).", field="overlap_minutes")
    if overlap == 0:
        retire_logins(tenant, everything=True, actor=actor, source=source)
    spare = TenantRole.objects.filter(tenant=tenant, state=Login.OFF).order_by("name").first()
    if spare is None:
        raise Conflict(
            "The login before the last is still open.",
            code="overlap_running",
            hint="Wait for its overlap to end, or rotate with overlap_minutes 0.",
        )
    password = secrets.new_password()
    with transaction.atomic():
        operation = operations.create(
            "credentials.rotate",
            tenant=tenant,
            params={"login": spare.name, "overlap_minutes": overlap},
            reason=check_reason(reason),
            inline=True,
            actor=actor,
            source=source,
        )
        TenantRole.objects.filter(pk=spare.pk).update(secret=secrets.encrypt(password))
    operation = operations.execute(operation)
    if overlap == 0:
        retire_logins(tenant, everything=True, actor=actor, source=source)
    tenant = get_tenant(tenant.pk)
    return Provisioned(tenant, operation, connection_of(tenant, spare.name, password))


def retire_logins(tenant: Tenant, *, everything: bool = False, actor: Actor, source: Source) -> int:
    """Close the tenant's logins whose overlap has ended (or all that are retiring). Returns how many."""
    retiring = TenantRole.objects.filter(tenant=tenant, state=Login.RETIRING)
    if not everything:
        retiring = retiring.filter(retire_at__lte=timezone.now())
    count = 0
    for role in retiring:
        suffix = role.name.removeprefix(f"{tenant.schema_name}_")
        _act("credentials.retire", tenant, reason="", suffix=suffix, actor=actor, source=source)
        count += 1
    return count


# --- changes ---------------------------------------------------------------------------------------------------


def update_tenant(
    *, tenant_id: Any, changes: dict[str, Any], expected_version: int | None = None, actor: Actor, source: Source
) -> Outcome:
    """Change name, plan, labels or limits; limits and plan reach the live logins at once.

    Raises PreconditionFailed when `expected_version` is not the present one, Conflict for tenants that are gone.
    """
    tenant = get_tenant(tenant_id)
    _require(tenant, "changed", State.ACTIVE, State.SUSPENDED, State.DELETED, State.FAILED)
    if expected_version is not None and expected_version != tenant.version:
        raise PreconditionFailed(hint="Read it again, then repeat your change.")
    fields, before, after = _checked_changes(tenant, changes)
    if not fields:
        return Outcome(tenant, None)
    if {"plan_id", "limits"} & set(fields) and tenant.state != State.FAILED:
        return _act(
            "tenant.update", tenant, reason="", fields=fields, before=before, after=after,
            effective_limits=tenant.effective_limits(), actor=actor, source=source,
        )  # fmt: skip
    with transaction.atomic():
        if not Tenant.objects.filter(pk=tenant.pk, version=tenant.version).update(
            **fields, version=tenant.version + 1, updated_at=timezone.now()
        ):
            raise PreconditionFailed(hint="Read it again, then repeat your change.")
        audit.record("tenant.update", actor=actor, source=source, tenant=tenant, before=before, after=after)
    return Outcome(get_tenant(tenant.pk), None)


def _checked_changes(tenant: Tenant, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Columns to set, and the same as people read it, before and after. `tenant` gets the new values."""
    if unknown := set(changes) - {"name", "plan", "labels", "limits"}:
        raise InvalidInput(f"{min(unknown)} cannot be changed.", field=min(unknown))
    before = {"name": tenant.name, "plan": tenant.plan.slug, "labels": tenant.labels, "limits": tenant.limits}
    fields: dict[str, Any] = {}
    if "name" in changes:
        fields["name"] = check_name(changes["name"])
    if "labels" in changes:
        fields["labels"] = check_labels(changes["labels"])
    if "limits" in changes:
        fields["limits"] = tenant.limits = resolve.limits(changes["limits"])
    if "plan" in changes:
        tenant.plan = resolve.plan(changes["plan"])
        fields["plan_id"] = tenant.plan.pk
    after = {**before, **{k: v for k, v in fields.items() if k != "plan_id"}, "plan": tenant.plan.slug}
    changed = {key for key in before if before[key] != after[key]}
    fields = {k: v for k, v in fields.items() if k.removesuffix("_id") in changed}
    return fields, {key: before[key] for key in changed}, {key: after[key] for key in changed}


def apply_plan(*, plan: Plan, actor: Actor, source: Source) -> list[Operation]:
    """Have workers apply a changed plan's limits to its tenants: one operation a cluster."""
    clusters = resolve.clusters_with_plan(plan)
    with transaction.atomic():
        return [
            operations.create(
                "plan.apply", cluster=cluster, params={"plan": plan.slug}, exclusive=False, actor=actor, source=source
            )
            for cluster in clusters
        ]
