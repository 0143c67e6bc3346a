"""What a tenant has beside its row, for those who make tenants out of backups (see `tenants.founding`)."""

from __future__ import annotations

from django.conf import settings
from django.db.models import F, Model
from django.utils import timezone

from provisioning import placement, resolve, slots, workflows
from provisioning.models import SchemaSlot, Template, TemplateVersion
from tenants import databases, pooling
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.founding import Wanted
from tenants.identifiers import LOGIN_SUFFIXES, check_labels, check_name, check_slug, new_schema_name, role_name
from tenants.models import Cluster, Domain, Plan, Tenant, TenantRole, Tier

State = Tenant.State


class SlotFounder:
    """Makes a slot for each, as for a tenant that found none waiting."""

    def found(self, wanted: Wanted, *, actor: Actor, source: Source) -> tuple[Tenant, list[Model]]:
        """See `tenants.founding.Founder`."""
        version = _version(wanted.template, wanted.template_version)
        cluster = wanted.cluster or _near(wanted)
        chosen = resolve.choice(template=wanted.template, plan=wanted.plan, cluster=cluster)
        tenant = Tenant(
            name=check_name(wanted.name),
            slug=check_slug(wanted.slug),
            plan=chosen.plan,
            cluster=chosen.cluster,
            template=wanted.template,
            template_version=wanted.template_version,
            labels=check_labels(wanted.labels),
            limits=resolve.limits(wanted.limits),
            schema_name=new_schema_name(),
        )
        placement.place(tenant, named=wanted.cluster is not None, actor=actor, source=source)
        domain = Domain(tenant=tenant, domain=f"{tenant.slug}.{settings.TENANT_BASE_DOMAIN}", is_primary=True)
        return tenant, [tenant, domain, *_home(tenant, version)]

    def found_again(self, tenant: Tenant, *, actor: Actor, source: Source) -> list[Model]:
        """See `tenants.founding.Founder`."""
        changed = Tenant.objects.filter(pk=tenant.pk, state=State.FAILED).update(
            state=State.PROVISIONING, state_reason="", schema_name=new_schema_name(), version=F("version") + 1
        )
        if not changed:
            raise Conflict("Only a failed tenant can be made again.", code="wrong_state")
        tenant.refresh_from_db()
        placement.place(tenant, actor=actor, source=source)
        Tenant.objects.filter(pk=tenant.pk).update(cluster=tenant.cluster)
        return _home(tenant, _version(tenant.template, tenant.template_version))

    def make_place(self, tenant: Tenant) -> None:
        """See `tenants.founding.Founder`."""
        if tenant.cluster.host_cluster is not None:
            databases.create(tenant.cluster)
            databases.prepare(tenant.cluster, slots.of_tenant(tenant).template_version.extensions)
            pooling.sync_soon(tenant.cluster)

    def create_roles(self, tenant: Tenant) -> None:
        """See `tenants.founding.Founder`."""
        slots.create_roles(slots.of_tenant(tenant))

    def open_login(self, tenant: Tenant) -> None:
        """See `tenants.founding.Founder`."""
        slots.open_login(slots.of_tenant(tenant), tenant.effective_limits())

    def first_login(self, tenant: Tenant) -> str:
        """See `tenants.founding.Founder`."""
        return role_name(tenant.schema_name, LOGIN_SUFFIXES[0])

    def activate(self, tenant: Tenant) -> None:
        """See `tenants.founding.Founder`."""
        workflows.activate(tenant, self.first_login(tenant), collected=False)

    def give_up(self, tenant: Tenant, why: str, *, actor: Actor, source: Source) -> None:
        """See `tenants.founding.Founder`."""
        SchemaSlot.objects.filter(tenant=tenant).delete()
        placement.leave(tenant, actor=actor, source=source)
        TenantRole.objects.filter(tenant=tenant).delete()
        workflows.move(tenant, to=State.FAILED, frm=(State.PROVISIONING,), state_reason=why[:500])

    def remove(self, tenant: Tenant) -> None:
        """See `tenants.founding.Founder`."""
        slots.remove_from_cluster(tenant.cluster, tenant.schema_name)
        if tenant.cluster.host_cluster is not None:
            databases.drop(tenant.cluster)

    def search_path(self, tenant: Tenant) -> list[str]:
        """See `tenants.founding.Founder`."""
        return slots.search_path(slots.of_tenant(tenant))

    def note_version(self, tenant: Tenant, number: int) -> None:
        """See `tenants.founding.Founder`."""
        version = _version(tenant.template, number)
        SchemaSlot.objects.filter(tenant=tenant).update(template_version=version)
        Tenant.objects.filter(pk=tenant.pk).update(template_version=number)
        tenant.template_version = number

    def adopt(self, tenant: Tenant, *, script: str, marker: str, fingerprint: str, server_version: int) -> str:
        """See `tenants.founding.Founder`."""
        template, _ = Template.objects.get_or_create(
            name=tenant.template, defaults={"description": "Made again from a backup."}
        )
        version, made = TemplateVersion.objects.get_or_create(
            template=template,
            number=tenant.template_version,
            defaults={
                "source": "a backup",
                "script": script,
                "marker": marker,
                "fingerprints": {str(server_version // 10_000): fingerprint},
                "compiled_on": server_version,
                "notes": ["Made again from a backup, without the template's seed rows and time series."],
            },
        )
        SchemaSlot.objects.create(
            cluster=tenant.cluster,
            template_version=version,
            schema_name=tenant.schema_name,
            state=SchemaSlot.State.CLAIMED,
            tenant=tenant,
            claimed_at=timezone.now(),
            limits=tenant.effective_limits(),
        )
        return str(version) if made else ""


def _home(tenant: Tenant, version: TemplateVersion) -> list[Model]:
    """The slot, and the logins, of which the first has a password."""
    slot = slots.new(tenant.cluster, version, tenant=tenant)
    logins = [TenantRole(tenant=tenant, name=role_name(tenant.schema_name, suffix)) for suffix in LOGIN_SUFFIXES]
    logins[0].secret = slot.secret
    return [slot, *logins]


def _near(wanted: Wanted) -> str | None:
    """The cluster to be near, where tenants of several live that are not on a plan of clusters of their own."""
    plans = Plan.objects.filter(slug=wanted.plan) if wanted.plan else Plan.objects.filter(is_default=True)
    fits = Cluster.objects.filter(name=wanted.near, dedicated=False, state=Cluster.State.ACTIVE).exists()
    return wanted.near if fits and not plans.filter(isolation_tier=Tier.CLUSTER).exists() else None


def _version(template: str, number: int) -> TemplateVersion:
    versions = TemplateVersion.objects.select_related("template").defer("script")
    found = versions.filter(template__name=template, number=number).first()
    if found is None:
        raise InvalidInput(
            f"There is no version {number} of the template '{template}'.", field="template",
            hint="The backup's schema is a copy of it: import it, or rebuild it from the backups (rebuild_registry).",
        )  # fmt: skip
    return found
