"""Building and removing a slot: a complete tenant schema with its roles, from nothing and back to nothing."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg import Connection

from provisioning.models import SchemaSlot, TemplateVersion
from tenants import databases, schemas, secrets
from tenants.exceptions import CloneMismatch
from tenants.identifiers import LOGIN_SUFFIXES, new_schema_name, role_name
from tenants.models import Cluster, Plan, Tenant
from tenants.postgres import connect, session
from tenants.schemas import compiler, roles, timeseries

log = logging.getLogger(__name__)
State = SchemaSlot.State

# Cloning a template of many hundred tables takes minutes, not seconds.
CLONE_TIMEOUT_MS = 600_000


def new(cluster: Cluster, version: TemplateVersion, *, tenant: Tenant) -> SchemaSlot:
    """The slot of a tenant that finds none waiting; not saved yet."""
    return SchemaSlot(
        cluster=cluster,
        template_version=version,
        schema_name=tenant.schema_name,
        tenant=tenant,
        secret=secrets.encrypt(secrets.new_password()),
        limits=tenant.effective_limits(),
    )


def reserve(cluster: Cluster, version: TemplateVersion) -> SchemaSlot:
    """Write down a slot for the pool, before anything of it exists. Its schema's name is new and random.

    Its login gets the limits of the default plan: that is what most tenants have, and others are given theirs.
    """
    plan = Plan.objects.filter(is_default=True).first()
    return SchemaSlot.objects.create(
        cluster=cluster,
        template_version=version,
        schema_name=new_schema_name(),
        secret=secrets.encrypt(secrets.new_password()),
        limits=plan.limits() if plan else {},
        lease_expires_at=timezone.now() + timedelta(seconds=settings.SLOT_BUILD_LEASE_SECONDS),
    )


def of_tenant(tenant: Tenant) -> SchemaSlot:
    """The slot of a tenant, with its template version and cluster, by one query at most."""
    if SchemaSlot.tenant.field.remote_field.is_cached(tenant):
        return tenant.slot
    slot = SchemaSlot.objects.get(tenant=tenant)
    slot.tenant, slot.cluster, slot.template_version = tenant, tenant.cluster, _version(slot.template_version_id)
    return slot


@functools.lru_cache(maxsize=8)
def _version(version_id: int) -> TemplateVersion:
    """A template version with its script, which is large, and read once by each process: versions never change."""
    return TemplateVersion.objects.select_related("template").get(pk=version_id)


def first_login(slot: SchemaSlot) -> str:
    """The login that is handed out first."""
    return role_name(slot.schema_name, LOGIN_SUFFIXES[0])


def search_path(slot: SchemaSlot) -> list[str]:
    """The schemas a tenant's login looks in: its own, and those of the extensions its template needs."""
    needed = {extension["schema"] for extension in slot.template_version.extensions} - {"pg_catalog"}
    return [slot.schema_name, *sorted(needed)]


def create_roles(slot: SchemaSlot) -> None:
    """Step one: the roles, and password and limits of the first login, in a short transaction of their own."""
    schema, login = slot.schema_name, first_login(slot)
    with session(slot.cluster.work_dsn()) as connection, connection.transaction():
        roles.create_roles(connection, schema, search_path=search_path(slot))
        if slot.limits:
            roles.apply_limits(connection, schema, slot.limits, to=[login])
        roles.set_password(connection, schema, login, secrets.decrypt(slot.secret))


def open_login(slot: SchemaSlot, limits: dict[str, int]) -> None:
    """The last step: the first login is let in, with these limits."""
    schema, login = slot.schema_name, first_login(slot)
    with session(slot.cluster.work_dsn()) as connection, connection.transaction():
        if limits != slot.limits:
            roles.apply_limits(connection, schema, limits, to=[login])
        roles.open_logins(connection, schema, [login])


def clone_schema(slot: SchemaSlot) -> None:
    """Step two: the schema and everything in it, in one transaction that commits only a true copy.

    It is proven before the commit: then a wrong one leaves nothing, and the server still has it in its caches.
    Raises CloneMismatch.
    """
    version = slot.template_version
    script = compiler.render(version.script, version.marker, slot.schema_name)
    partitions = timeseries.initial_partitions(slot.schema_name, time_series(version), timezone.now())
    expected = expected_fingerprint(version, slot.cluster)

    def prove(connection: Connection[Any]) -> None:
        if compiler.fingerprints(connection, [slot.schema_name]) != {slot.schema_name: expected}:
            raise CloneMismatch(
                f"{slot.schema_name} is not a true copy of {version}.",
                hint="Look for event triggers or default privileges that change what is created on this cluster.",
            )

    with session(slot.cluster.work_dsn()) as connection:
        schemas.clone(connection, slot.schema_name, script, then=partitions, prove=prove, timeout_ms=CLONE_TIMEOUT_MS)


def time_series(version: TemplateVersion) -> list[timeseries.TimeSeries]:
    """The time-series tables that a template version declares."""
    return [timeseries.TimeSeries(**spec) for spec in version.timeseries]


def expected_fingerprint(version: TemplateVersion, cluster: Cluster) -> str:
    """What a true clone hashes to on this cluster's PostgreSQL major; measured there once, in a scratch database."""
    major = str(cluster.server_version_num // 10000)
    if major not in version.fingerprints:  # what a process keeps may be older than another's measuring
        version.refresh_from_db(fields=["fingerprints"])
    if major not in version.fingerprints:
        measured = compiler.measure_fingerprint(version.script, version.marker, dsn=cluster.dsn())
        with transaction.atomic():
            locked = TemplateVersion.objects.select_for_update().get(pk=version.pk)
            locked.fingerprints.setdefault(major, measured)
            locked.save(update_fields=["fingerprints"])
        version.fingerprints = locked.fingerprints
    return str(version.fingerprints[major])


def build(slot: SchemaSlot) -> bool:
    """Make a slot ready, both steps. False when its lease ran out meanwhile and it was taken away."""
    begun = time.monotonic()
    create_roles(slot)
    clone_schema(slot)
    if SchemaSlot.objects.filter(pk=slot.pk, state=State.BUILDING).update(
        state=State.READY,
        ready_at=timezone.now(),
        lease_expires_at=None,
        build_seconds=time.monotonic() - begun,
    ):
        return True
    remove_from_cluster(slot.cluster, slot.schema_name)
    return False


def remove_from_cluster(
    cluster: Cluster, schema: str, *, on_batch: Callable[[int], None] | None = None, keep_roles: bool = False
) -> None:
    """Take a schema and its roles away, whatever of them is there. Sessions are ended first.

    Where a tenant's own database was not made, or was dropped, there is nothing: roles come after it and go before.
    """
    if cluster.host_cluster is not None and databases.is_gone(cluster):
        return
    # A database that is not prepared yet lets nobody in but its owner, who made it and drops it.
    dsn = cluster.work_dsn() if cluster.host_cluster is None else cluster.dsn()
    with connect(dsn, autocommit=True, statement_timeout_ms=CLONE_TIMEOUT_MS) as connection:
        there = roles.existing(connection, schema)
        if there:
            names = [*roles.all_logins(schema), *roles.additional_logins(connection, schema)]
            roles.close_logins(connection, schema, names)
        schemas.drop(connection, schema, on_batch=on_batch)
        if there and not keep_roles:
            roles.drop_roles(connection, schema)


def remove(slot: SchemaSlot) -> None:
    """Take a slot away for good: first what is on the cluster, then its row."""
    remove_from_cluster(slot.cluster, slot.schema_name)
    SchemaSlot.objects.filter(pk=slot.pk).delete()
