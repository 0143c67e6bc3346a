"""How a tenant comes into being that is not provisioned from a template: as a copy, or out of a backup.

What a tenant has beside its row (domain, logins, schema slot) is provisioning's business; it says here how that is
made, and those who may not import it ask here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from django.db import IntegrityError
from django.db.models import Model

from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.models import Tenant


@dataclass(frozen=True)
class Wanted:
    """A tenant to be. Plan and cluster are named; without a name the default one is meant, `near` rather than that."""

    name: str
    slug: str
    template: str
    template_version: int
    plan: str | None = None
    cluster: str | None = None
    near: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class Founder(Protocol):
    """Who makes tenants."""

    def found(self, wanted: Wanted, *, actor: Actor, source: Source) -> tuple[Tenant, list[Model]]:
        """A new tenant, `provisioning`, with its place by its plan's tier, and the rows to insert, its own first.

        In the caller's transaction.
        Raises InvalidInput for what is not right or not there, Conflict (`cluster_disabled`, `no_free_cluster`).
        """

    def found_again(self, tenant: Tenant, *, actor: Actor, source: Source) -> list[Model]:
        """A failed tenant is `provisioning` again, under a new schema name; in the caller's transaction. Returns the
        rows to insert. Raises Conflict."""

    def make_place(self, tenant: Tenant) -> None:
        """Its own database, where its plan gives it one."""

    def create_roles(self, tenant: Tenant) -> None:
        """Its roles on the cluster, none of which can log in."""

    def open_login(self, tenant: Tenant) -> None:
        """Its first login is let in, with its plan's limits."""

    def first_login(self, tenant: Tenant) -> str:
        """That login's name."""

    def activate(self, tenant: Tenant) -> None:
        """It is `active`, its password waiting to be collected; in the caller's transaction. Raises Conflict."""

    def give_up(self, tenant: Tenant, why: str, *, actor: Actor, source: Source) -> None:
        """It is `failed`, and nothing of it is left but its row; in the caller's transaction, after `remove`."""

    def remove(self, tenant: Tenant) -> None:
        """Take its schema, roles and own database from the cluster, whatever of them is there."""

    def search_path(self, tenant: Tenant) -> list[str]:
        """The schemas its logins look in."""

    def note_version(self, tenant: Tenant, number: int) -> None:
        """Its schema is that of another version of its template now; in the caller's transaction."""

    def adopt(self, tenant: Tenant, *, script: str, marker: str, fingerprint: str, server_version: int) -> str:
        """Note that a tenant whose row was made again has its schema; in the caller's transaction. Where its template's
        version is not known any more it is made of `script`. Returns what was made, e.g. `trading v3`; else empty."""


_founder: list[Founder] = []


def register(founder: Founder) -> None:
    """Make known who makes tenants. Provisioning does this when it is loaded."""
    _founder[:] = [founder]


def founder() -> Founder:
    """Who makes tenants. Raises ControlPlaneError while nobody does."""
    if not _founder:
        raise ControlPlaneError("Nobody makes tenants here.")
    return _founder[0]


@contextmanager
def slug_of_its_own(slug: str) -> Iterator[None]:
    """Around inserting a new tenant's rows: raises Conflict `slug_taken` when another one has this slug."""
    try:
        yield
    except IntegrityError as error:
        if "live_slug_once" in str(error) or "domain" in str(error):
            raise Conflict(f"The slug '{slug}' is taken.", code="slug_taken", hint="Choose another one.") from error
        raise
