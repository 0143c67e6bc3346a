"""Shutting a tenant's logins and opening them again, on the server and at the pooler."""

from __future__ import annotations

from collections.abc import Sequence

from tenants import pooling
from tenants.exceptions import ClusterError
from tenants.models import Tenant, TenantRole
from tenants.postgres import session
from tenants.schemas import roles


def open_logins(tenant: Tenant) -> list[str]:
    """The tenant's logins that may log in now, additional ones and the migrator included."""
    schema = tenant.schema_name
    with session(tenant.cluster.work_dsn()) as link:
        names = [*roles.all_logins(schema), *roles.additional_logins(link, schema)]
        return sorted(roles.able_to_log_in(link, names))


def shut(tenant: Tenant) -> None:
    """Nobody gets in and nobody is in; checked, not assumed. Raises ClusterError, ClusterBusy."""
    schema = tenant.schema_name
    with session(tenant.cluster.work_dsn()) as link:
        names = [*roles.all_logins(schema), *roles.additional_logins(link, schema)]
        roles.close_logins(link, schema, names)
        pooling.end_clients(tenant.cluster, names)
        if still := roles.able_to_log_in(link, names):
            raise ClusterError(f"{min(still)} can still log in.")


def let_in(tenant: Tenant, names: Sequence[str]) -> None:
    """Those of these logins that are still there work again, with the passwords they had."""
    schema = tenant.schema_name
    with session(tenant.cluster.work_dsn()) as link, link.transaction():
        there = [*roles.existing(link, schema), *roles.additional_logins(link, schema)]
        migrator = roles.all_logins(schema)[-1]
        there += [row[0] for row in link.execute(roles.QUERIES["existing_roles"], [[migrator]])]
        roles.open_logins(link, schema, [name for name in names if name in there])
    issued = TenantRole.objects.filter(tenant=tenant, name__in=names).exclude(secret="")
    pooling.await_logins(tenant.cluster, {login.name: login.password() for login in issued})
