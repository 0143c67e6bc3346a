"""Where a new tenant lives, by its plan's tier: among others, in a database of its own, on a cluster of its own."""

from __future__ import annotations

from django.db.models import PROTECT, SET_NULL, ForeignObjectRel

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict
from tenants.models import Cluster, Tenant, Tier

ATTEMPTS = 20


def place(tenant: Tenant, *, named: bool = False, actor: Actor, source: Source) -> None:
    """Give the tenant, whose row and schema's name may be new, its place by its plan; in the caller's transaction.

    Its `cluster` is where it was asked to be (`named`: by somebody, not by default). Raises Conflict `no_free_cluster`.
    """
    if tenant.plan.isolation_tier == Tier.DATABASE:
        tenant.cluster = _own_database(tenant)
    elif tenant.plan.isolation_tier == Tier.CLUSTER:
        tenant.cluster = _take(tenant, only=tenant.cluster if named else None)
        audit.record("cluster.take", actor=actor, source=source, target=tenant.cluster, after={"tenant": tenant.slug})


def _own_database(tenant: Tenant) -> Cluster:
    """The row of a database that is yet to be made. It is called as the schema, which nobody can guess either."""
    host = tenant.cluster.server
    own = Cluster(
        name=f"own-{tenant.schema_name.removeprefix('t_')}", description=f"The database of {tenant.slug}, on {host}.",
        host_cluster=host, dbname=tenant.schema_name, dedicated=True, dedicated_to_id=tenant.pk, sslmode=host.sslmode,
        pool_target=0, max_parallel=host.max_parallel, server_version_num=host.server_version_num,
        isolation_wanted=host.isolation_wanted,
    )  # fmt: skip
    own.save(force_insert=True)
    return own


def _take(tenant: Tenant, *, only: Cluster | None) -> Cluster:
    """A cluster that is reserved, empty and free, and now this tenant's."""
    living = Tenant.objects.exclude(state__in=[Tenant.State.PURGED, Tenant.State.FAILED]).exclude(pk=tenant.pk)
    free = Cluster.objects.filter(
        dedicated=True, dedicated_to=None, host_cluster=None, state=Cluster.State.ACTIVE, slots=None
    ).exclude(pk__in=living.values("cluster"))
    if only is not None:
        free = free.filter(pk=only.pk)
    for found in free.order_by("created_at", "pk")[:ATTEMPTS]:
        if Cluster.objects.filter(pk=found.pk, dedicated=True, dedicated_to=None).update(dedicated_to=tenant.pk):
            return found
    raise Conflict(
        f"The cluster '{only}' is taken." if only else "No cluster that is reserved for one tenant is free.",
        code="no_free_cluster",
        hint="Register another one with --dedicated, or choose a plan of another tier.",
    )


def _hand_over(place: Cluster, host: Cluster) -> None:
    """What outlives the database (its tenant, backups, history of any kind) was on its host's server, and points there
    from now on; what is only of use with it goes with it."""
    for relation in place._meta.get_fields(include_hidden=True):
        if isinstance(relation, ForeignObjectRel) and relation.on_delete in (PROTECT, SET_NULL):
            name = relation.field.name
            relation.related_model._base_manager.filter(**{name: place}).update(**{name: host})


def leave(tenant: Tenant, *, actor: Actor, source: Source) -> None:
    """Take the place away again, when nothing of the tenant is left there; in the caller's transaction.

    The row of a database of its own, which was dropped, goes; a reserved cluster is free again.
    """
    place = tenant.cluster
    if place.host_cluster is not None:
        _hand_over(place, place.host_cluster)
        tenant.cluster = place.host_cluster
        place.delete()
    elif Cluster.objects.filter(pk=place.pk, dedicated_to=tenant.pk).update(dedicated_to=None):
        audit.record("cluster.give_back", actor=actor, source=source, target=place, before={"tenant": tenant.slug})
