"""All checks of one tenant, and what they come to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from monitoring.health.looks import look_at
from monitoring.models import TenantLook
from tenants.health import Check, Checker, Status, checkers, sharing, worst
from tenants.models import Tenant

log = logging.getLogger(__name__)
# A look is believed as long as three of its turns.
TURNS = 3


@dataclass(frozen=True)
class Health:
    """How a tenant is: the worst of its checks."""

    tenant: Tenant
    checks: tuple[Check, ...]
    live: bool
    at: datetime

    @property
    def status(self) -> Status:
        """Critical before warning before unknown before ok."""
        return worst([check.status for check in self.checks])


def tenant_health(*, tenant: Tenant) -> Health:
    """From the registry, samples and the last looks: nothing is asked of a cluster. About ten small queries."""
    looks = {row.name: row for row in TenantLook.objects.filter(tenant=tenant)}
    return Health(tenant, tuple(_all(tenant, looks)), live=False, at=timezone.now())


def live_health(*, tenant: Tenant) -> Health:
    """Looked at now, where something can be; what that found is kept. Bounded by timeouts of a few seconds each."""
    looked = {check.name: check for check in look_at(tenant)}
    looks = {row.name: row for row in TenantLook.objects.filter(tenant=tenant)}
    checks = tuple(looked.get(check.name, check) for check in _all(tenant, looks))
    return Health(tenant, checks, live=True, at=timezone.now())


def _all(tenant: Tenant, looks: dict[str, TenantLook]) -> Iterator[Check]:
    with sharing():
        yield from _each(tenant, looks)


def _each(tenant: Tenant, looks: dict[str, TenantLook]) -> Iterator[Check]:
    for checker in checkers():
        try:
            check = checker.known(tenant) if checker.known else _looked(tenant, checker, looks.get(checker.name))
        except Exception as error:  # one that cannot tell does not silence the others
            log.warning("health.check_failed", extra={"check": checker.name, "error": type(error).__name__})
            check = Check(checker.name, Status.UNKNOWN, "It could not be found out.", "See the log of the web server.")
        if check is not None:
            yield check


def _looked(tenant: Tenant, checker: Checker, row: TenantLook | None) -> Check | None:
    if tenant.state != Tenant.State.ACTIVE:
        return None
    if row is None:
        return Check(checker.name, Status.UNKNOWN, "Nobody has looked yet.", "Ask with live=true to look now.")
    check = Check(row.name, Status(row.status), row.reason, row.next_step, row.value, row.limit, row.unit, row.taken_at)
    if timezone.now() - row.taken_at > TURNS * checker.every:
        reason = f"Nobody has looked since {row.taken_at:%Y-%m-%d %H:%M} UTC."
        return check.but(status=Status.UNKNOWN, reason=reason, next_step="Is beat running? live=true looks now.")
    return check
