"""What a tenant's pages tell of it, from the registry and from its cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from provisioning.models import SchemaSlot
from provisioning.services import Connection, connection_of
from tenants.exceptions import ControlPlaneError
from tenants.models import ClusterLogin, Tenant, TenantRole
from tenants.postgres import connect, load_queries
from tenants.schemas import roles

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True)
class Live:
    """What is on the cluster now."""

    tables: int
    sessions: int


def live(tenant: Tenant) -> Live:
    """Tables and open sessions. Raises ControlPlaneError when the cluster does not answer."""
    # Not from the pool: a page must not wait as long as work may when the cluster is down.
    with connect(
        tenant.cluster.dsn(ClusterLogin.Purpose.MONITOR), autocommit=True, statement_timeout_ms=3_000
    ) as connection:
        row = connection.execute(
            QUERIES["tenant_facts"],
            {"schema": f'"{tenant.schema_name}"', "logins": roles.logins(tenant.schema_name)},
        ).fetchone()
    return Live(*row) if row else Live(0, 0)


def live_lines(tenant: Tenant) -> tuple[list[tuple[str, str]], Live | None]:
    """The same as rows to show, or why it cannot be said."""
    try:
        found = live(tenant)
    except ControlPlaneError as error:
        return [("On the cluster", f"cannot be read now: {error}")], None
    return [("Tables in the schema", str(found.tables)), ("Sessions open now", str(found.sessions))], found


@dataclass(frozen=True)
class Address:
    """How a tenant is connected to, without its password."""

    connection: Connection
    url: str
    psql: str


def address(tenant: Tenant, logins: list[TenantRole]) -> Address | None:
    """The active login's connection (the newest there was, when none is active), or None when there is none.

    Raises ControlPlaneError when the cluster's own address cannot be read.
    """
    issued = [login for login in logins if login.state != TenantRole.State.OFF]
    if not issued or not SchemaSlot.objects.filter(tenant=tenant).exists():
        return None
    active = min(issued, key=lambda login: login.state != TenantRole.State.ACTIVE)
    return without_password(connection_of(tenant, active.name, ""))


def without_password(connection: Connection) -> Address:
    """A connection as URL and as command that asks for the password."""
    where = f"{connection.host}:{connection.port}/{quote(connection.dbname)}"
    url = f"postgresql://{connection.user}@{where}"
    return Address(connection, url, f"psql '{url}'")
