"""What a tenant has on a cluster beside its own schema, such as what a restore has set aside.

Whoever puts something there says how it is taken away, so that a purge leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from tenants.models import Tenant

# Called with the tenant and with what raises when the work has to stop; each can be repeated.
Removal = Callable[[Tenant, Callable[[], None]], None]
_removals: list[Removal] = []


def register(removal: Removal) -> None:
    """Make known how something is taken away. Apps do this when they are loaded."""
    if removal not in _removals:
        _removals.append(removal)


def remove_all(tenant: Tenant, alive: Callable[[], None]) -> None:
    """Take away everything that is beside a tenant's schema."""
    for removal in _removals:
        removal(tenant, alive)
