"""What a tenant has on a cluster beside its own schema, such as what a restore has set aside, or is making.

Whoever puts something there says how it is taken away, so that a purge leaves nothing, and what is not finished, so
that nobody takes it for what it is not.
"""

from __future__ import annotations

from collections.abc import Callable

from tenants.models import Cluster, Tenant

# Called with the tenant and with what raises when the work has to stop; each can be repeated.
Removal = Callable[[Tenant, Callable[[], None]], None]
# The names of schemas on a cluster that are being made.
Unfinished = Callable[[Cluster], set[str]]
_known: list[tuple[Removal, Unfinished]] = []


def register(removal: Removal, unfinished: Unfinished) -> None:
    """Make known how something is taken away, and what of it is not finished. Apps do this when they are loaded."""
    if (removal, unfinished) not in _known:
        _known.append((removal, unfinished))


def remove_all(tenant: Tenant, alive: Callable[[], None]) -> None:
    """Take away everything that is beside a tenant's schema."""
    for removal, _ in _known:
        removal(tenant, alive)


def unfinished(cluster: Cluster) -> set[str]:
    """Schemas on a cluster that are being made, by anybody: those of tenants that are not there yet, too."""
    new = Tenant.objects.filter(cluster=cluster, state=Tenant.State.PROVISIONING)
    return {*new.values_list("schema_name", flat=True)}.union(*(found(cluster) for _, found in _known))
