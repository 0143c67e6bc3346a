"""A tenant's migrator: a login that acts as the schema's owner, let in for a while, watched by the guard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from provisioning import slots
from provisioning.models import MigratorWindow
from provisioning.services.common import Connection, State, check_reason, connection_of, get_tenant, require
from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.hardening.levels import Level
from tenants.identifiers import MIGRATOR, OWNER, role_name
from tenants.models import Tenant
from tenants.postgres import session
from tenants.schemas import roles

MAX_MINUTES = 1440


class OwnerConnection(Connection):
    """A connection that begins as the schema's owner: the login itself inherits nothing."""

    @property
    def dsn(self) -> str:
        """As one URL, with the role to begin as."""
        owner = self.user.removesuffix(MIGRATOR) + OWNER
        return f"{super().dsn}?options=-c%20role%3D{owner}"


@dataclass(frozen=True)
class Opened:
    """An open window, and the connection that works until its end. The password is shown this once and kept nowhere."""

    window: MigratorWindow
    connection: OwnerConnection


def open_migrator(*, tenant_id: Any, minutes: int = 30, reason: str, actor: Actor, source: Source) -> Opened:
    """Let a migrator in for 1 to 1440 minutes. What it makes gets row-level security from the guard, and belongs to the
    schema's owner.

    Raises Conflict unless the tenant is active, its cluster has the guard (`lockdown` or `sealed`) and no window is
    open; InvalidInput without a reason.
    """
    tenant = get_tenant(tenant_id)
    require(tenant, "migrated", State.ACTIVE)
    _require_guard(tenant)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= MAX_MINUTES:
        raise InvalidInput(f"A window has 1 to {MAX_MINUTES} minutes.", field="minutes")
    if not check_reason(reason):
        raise InvalidInput("A migrator needs a reason.", field="reason")
    window = _write_down(tenant, minutes, check_reason(reason), actor=actor, source=source)
    password = secrets.new_password()
    with session(tenant.cluster.work_dsn()) as connection, connection.transaction():
        roles.open_migrator(
            connection,
            tenant.schema_name,
            password,
            until=window.expires_at,
            search_path=slots.search_path(tenant.slot),
        )
    if get_tenant(tenant.pk).state != State.ACTIVE:  # suspended meanwhile
        close_migrator(tenant_id=tenant.pk, actor=actor, source=source)
        raise Conflict("The tenant's state has changed meanwhile.", code="state_changed")
    found = connection_of(tenant, window.login, password)
    own = tenant.cluster.dsn()  # never through a pooler, which passes no role on
    return Opened(window, OwnerConnection(**asdict(found) | {"host": own.host, "port": own.port}))


def _require_guard(tenant: Tenant) -> None:
    if tenant.cluster.isolation_level not in (Level.LOCKDOWN, Level.SEALED):
        raise Conflict(
            "The tenant's cluster has no guard that would watch a migrator.",
            code="guard_missing",
            hint=f"manage.py prepare_cluster {tenant.cluster.name} --level lockdown",
        )


def _write_down(tenant: Tenant, minutes: int, reason: str, *, actor: Actor, source: Source) -> MigratorWindow:
    """The row before the login: whatever dies in between, the sweep finds it and closes."""
    try:
        with transaction.atomic():
            window = MigratorWindow.objects.create(
                tenant=tenant,
                login=role_name(tenant.schema_name, MIGRATOR),
                reason=reason,
                opened_by=actor.label[:150],
                expires_at=timezone.now() + timedelta(minutes=minutes),
            )
            audit.record(
                "migrator.open", actor=actor, source=source, tenant=tenant, reason=reason,
                after={"login": window.login, "expires_at": window.expires_at.isoformat()},
            )  # fmt: skip
    except IntegrityError as error:
        raise Conflict("A migrator of this tenant is open already.", code="migrator_open") from error
    return window


def close_migrator(*, tenant_id: Any, actor: Actor, source: Source) -> MigratorWindow | None:
    """Shut the migrator out, end its sessions, and look at what it left. None when no window is open.

    What the guard finds wrong afterwards is on the window's row and in the audit event.
    """
    tenant = get_tenant(tenant_id)
    window = MigratorWindow.objects.filter(tenant=tenant, closed_at__isnull=True).first()
    if window is None:
        return None
    with session(tenant.cluster.work_dsn()) as connection:
        ended = roles.close_migrator(connection, tenant.schema_name)
        findings = roles.guard_findings(connection, tenant.schema_name)
    with transaction.atomic():
        if MigratorWindow.objects.filter(pk=window.pk, closed_at__isnull=True).update(
            closed_at=timezone.now(), findings=findings
        ):
            audit.record(
                "migrator.close", actor=actor, source=source, tenant=tenant,
                after={"login": window.login, "sessions_ended": ended, "findings": findings},
            )  # fmt: skip
    window.refresh_from_db()
    return window
