"""What the registry itself can say of a tenant's health: its state, a login, row-level security, isolation."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.core.cache import cache
from django.utils import timezone
from psycopg import Connection

from tenants.detection.signature import marker
from tenants.exceptions import ControlPlaneError
from tenants.health import Check, Checker, Status, by_share, register
from tenants.models import IsolationCheck, IsolationFinding, Tenant, TenantRole
from tenants.models.isolation import Severity
from tenants.pooling.sessions import of_cluster
from tenants.postgres import connect, load_queries, through_pooler

QUERIES = load_queries(Path(__file__).with_name("health.sql"))
State = Tenant.State
SLOW_LOGIN_SECONDS = 1.0
MARKER_SECONDS = 20
# An isolation check is made every five minutes.
OLD_PROOF = timedelta(minutes=30)


def register_checks() -> None:
    """Make them known."""
    register(Checker("state", known=state))
    register(Checker("reachable", attempt=log_in))
    register(Checker("row_level_security", look=row_level_security))
    register(Checker("isolation", known=isolation))


def state(tenant: Tenant) -> Check:
    """Whether it is meant to be in use."""
    now, why = timezone.now(), f": {tenant.state_reason}" if tenant.state_reason else ""
    found = {
        State.ACTIVE: Check("state", Status.OK, "It is active."),
        State.PROVISIONING: Check("state", Status.UNKNOWN, "It is being made.", "Look at its operation."),
        State.SUSPENDED: Check("state", Status.WARNING, f"It is suspended{why}", "Resume it when it shall work again."),
        State.DELETED: Check("state", Status.WARNING, f"It is deleted{why}", "Undelete it, or let its purge come."),
        State.FAILED: Check("state", Status.CRITICAL, f"It could not be made{why}", "Retry its operation."),
        State.PURGED: Check("state", Status.UNKNOWN, "It is purged.", "Restore a backup."),
    }
    return found[State(tenant.state)].but(taken_at=now)


def log_in(tenant: Tenant) -> Check | None:
    """A real login by its own role, through the pooler where there is one, and a statement; in seconds."""
    if tenant.state != State.ACTIVE:
        return None
    role = TenantRole.objects.filter(tenant=tenant, state=TenantRole.State.ACTIVE).exclude(secret="").first()
    if role is None:
        return Check("reachable", Status.CRITICAL, "It has no login.", "Rotate its credentials.")
    begun = time.monotonic()
    try:
        # Should it be refused, the server's log tells of a failed login that was nobody's attack.
        cache.set(marker(role.name), True, timeout=MARKER_SECONDS)
        _statement(tenant, role)
    except ControlPlaneError as error:
        hint = "Look at the cluster, its pooler and the tenant's logins; rotate its credentials if they were changed."
        return Check("reachable", Status.CRITICAL, f"Its login did not get in. {error.message}", hint, unit="seconds")
    seconds = time.monotonic() - begun
    slow = seconds > SLOW_LOGIN_SECONDS
    return Check(
        "reachable", Status.WARNING if slow else Status.OK,
        "Its login got in slowly." if slow else "Its login got in.",
        "Look at the load of the cluster and the pooler's waiting clients." if slow else "",
        round(seconds, 4), SLOW_LOGIN_SECONDS, "seconds",
    )  # fmt: skip


def _statement(tenant: Tenant, role: TenantRole) -> None:
    pooler = of_cluster(tenant.cluster)
    name = "controlplane health"
    if pooler is not None:
        dsn = pooler.dsn(tenant.cluster.dsn().dbname).replace(user=role.name, password=role.password())
        with through_pooler(dsn, application_name=name) as connection:
            connection.execute("SELECT 1")
        return
    dsn = tenant.cluster.dsn().replace(user=role.name, password=role.password())
    with connect(dsn, autocommit=True, application_name=name, statement_timeout_ms=3_000) as connection:
        connection.execute("SELECT 1")


def row_level_security(tenant: Tenant, connection: Connection[Any]) -> Check:
    """Whether every table of its schema has it, forced, with a policy; the value is how many have not."""
    row = connection.execute(QUERIES["unprotected"], {"schema": tenant.schema_name}).fetchone()
    tables, bare, first = row or (0, 0, None)
    if not tables:
        return Check("row_level_security", Status.CRITICAL, "Its schema has no tables, or is not there.",
                     "Look whether it was dropped; restore it.", unit="tables")  # fmt: skip
    if bare:
        reason = f"{bare} of {tables} tables are not protected, the first is {first}."
        return Check("row_level_security", Status.CRITICAL, reason, "Run manage.py check_isolation; see its findings.",
                     bare, 0, "tables")  # fmt: skip
    return Check("row_level_security", Status.OK, f"All {tables} tables are protected.", "", 0, 0, "tables")


def isolation(tenant: Tenant) -> Check | None:
    """What the last proof of isolation left open about its schema."""
    if tenant.state not in (State.ACTIVE, State.SUSPENDED):
        return None
    open_ones = IsolationFinding.objects.filter(tenant=tenant, resolved_at=None).order_by().values("severity")
    last = (
        IsolationCheck.objects.filter(cluster=tenant.cluster_id).only("started_at", "error")
        .annotate(severities=ArraySubquery(open_ones)).first()
    )  # fmt: skip
    if last is None or last.started_at < tenant.created_at:
        return Check("isolation", Status.UNKNOWN, "There was no proof since it was made.",
                     "Run manage.py check_isolation.", unit="findings")  # fmt: skip
    severities = last.severities
    check = Check("isolation", Status.OK, "The last proof found nothing about it.", "", len(severities), 0, "findings",
                  last.started_at)  # fmt: skip
    if severities:
        bad = Status.CRITICAL if Severity.CRITICAL in severities else Status.WARNING
        return check.but(status=bad, reason="The last proof found something.", next_step="See its isolation findings.")
    if last.error or last.started_at < timezone.now() - OLD_PROOF:
        return check.but(status=Status.UNKNOWN, value=None, reason="The last proof failed or is old.",
                         next_step="Run manage.py check_isolation.")  # fmt: skip
    return check


def connections(tenant: Tenant, connection: Connection[Any]) -> Check:
    """Sessions of its logins on the server now, against what its plan allows."""
    row = connection.execute(QUERIES["sessions"], {"schema": tenant.schema_name}).fetchone()
    value, limit = (row or (0,))[0], tenant.effective_limits()["connection_limit"]
    return of_connections(float(value), float(limit))


def of_connections(value: float, limit: float) -> Check:
    """So many sessions, judged."""
    status = by_share(value, limit)
    reason = f"{value:.0f} of {limit:.0f} connections are in use."
    step = "" if status is Status.OK else "Find idle sessions, use the pooler, or raise its plan's connection limit."
    return Check("connections", status, reason, step, value, limit, "connections")


def size(tenant: Tenant, connection: Connection[Any]) -> Check:
    """Tables, indexes and TOAST of its schema now, against its quota."""
    row = connection.execute(QUERIES["size"], {"schema": tenant.schema_name}).fetchone()
    return of_size(float((row or (0,))[0]), float(tenant.effective_limits()["storage_quota_bytes"]))


def of_size(value: float, limit: float) -> Check:
    """So many bytes, judged."""
    status = by_share(value, limit)
    reason = f"It has {value / 1024**2:,.1f} MB of {limit / 1024**2:,.0f} MB."
    step = "" if status is Status.OK else "Have it remove data, or raise its plan's quota."
    return Check("size", status, reason, step, value, limit, "bytes")
