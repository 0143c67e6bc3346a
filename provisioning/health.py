"""What provisioning can say of a tenant's health: whether its schema is as its template made it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg import Connection

from provisioning.models import TemplateVersion
from provisioning.slots import expected_fingerprint
from tenants.health import Check, Checker, Status, register
from tenants.models import Tenant
from tenants.schemas import compiler


def register_checks() -> None:
    """Make them known."""
    # Comparing a catalog costs the server some 50 ms.
    register(Checker("schema", look=schema, every=timedelta(days=1)))


def schema(tenant: Tenant, connection: Connection[Any]) -> Check:
    """Its fingerprint against that of its template's version."""
    found = compiler.fingerprints(connection, [tenant.schema_name]).get(tenant.schema_name)
    if found is None:
        return Check("schema", Status.CRITICAL, "Its schema is not there.", "Restore it from its newest backup.")
    wanted = TemplateVersion.objects.filter(
        template__name=tenant.template, number=tenant.template_version
    ).select_related("template").first()  # fmt: skip
    if wanted is None:
        return Check("schema", Status.UNKNOWN, "Its template's version is not in the registry.")
    if found == expected_fingerprint(wanted, tenant.cluster):
        return Check("schema", Status.OK, f"It is as {wanted} made it.")
    return Check(
        "schema", Status.WARNING, f"It differs from {wanted}.",
        "Was it changed through a migrator's window? Else find out who did: see its audit log.",
    )  # fmt: skip
