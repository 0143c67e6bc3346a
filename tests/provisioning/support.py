"""Looking at a tenant from where it matters: its own login, and the server's catalog."""

from __future__ import annotations

from typing import Any

import psycopg

from provisioning import services
from provisioning.models import SchemaSlot, TemplateVersion
from provisioning.services import Connection, Provisioned
from tenants.actors import Actor, Source
from tenants.models import Cluster, Tenant
from tenants.postgres import connect
from tenants.schemas import roles
from tests.support.fixtures import fresh_slug

ACTOR = Actor(kind="command", id="", label="tests")
SOURCE = Source(channel="command", request_id="tests")


def warm(cluster: Cluster, version: TemplateVersion, count: int = 1) -> list[SchemaSlot]:
    """`count` ready slots, besides those that are there."""
    from provisioning import slots

    made = [slots.reserve(cluster, version) for _ in range(count)]
    for slot in made:
        assert slots.build(slot)
    return made


def provision(template: TemplateVersion, **kwargs: Any) -> Provisioned:
    """A new active tenant, from a slot of its own."""
    named = {"name": kwargs["cluster"]} if "cluster" in kwargs else {"is_default": True}
    warm(Cluster.objects.get(**named), template)
    kwargs = {"name": "Acme", "slug": fresh_slug(), "actor": ACTOR, "source": SOURCE} | kwargs
    return services.provision_tenant(template=template.template.name, **kwargs)


def log_in(connection: Connection) -> psycopg.Connection[Any]:
    """A session of the tenant's own login; raises psycopg.OperationalError when it is shut out."""
    return psycopg.connect(connection.dsn, autocommit=True, connect_timeout=5)


def can_log_in(connection: Connection) -> bool:
    """Whether the credentials work now."""
    try:
        log_in(connection).close()
    except psycopg.OperationalError:
        return False
    return True


def leftovers(cluster: Cluster, schema: str) -> list[str]:
    """What is still on the cluster of a schema: the schema itself and roles named after it."""
    with connect(cluster.dsn()) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname = %(s)s"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname ^@ %(s)s",
            {"s": schema},
        ).fetchall()
    return [row[0] for row in rows]


def orphans(cluster: Cluster) -> set[str]:
    """Tenant schemas and roles' stems on this database's cluster of which the registry knows nothing."""
    known = set(SchemaSlot.objects.values_list("schema_name", flat=True))
    with connect(cluster.dsn()) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_[a-z2-7]{20}$'").fetchall()
    return {row[0] for row in rows} - known


def act(function: Any, tenant: Tenant, **kwargs: Any) -> Any:
    """Call a lifecycle service on a tenant."""
    return function(tenant_id=tenant.pk, actor=ACTOR, source=SOURCE, **kwargs)


__all__ = ["ACTOR", "SOURCE", "act", "can_log_in", "leftovers", "log_in", "orphans", "provision", "roles", "warm"]
