"""Schemas that restores are making: nobody can log in there, and their protection comes last."""

from __future__ import annotations

from backups.models import KeptSchema, RestoreDrill
from tenants.models import Cluster


def schemas_on(cluster: Cluster) -> set[str]:
    """Their names on a cluster (see `tenants.belongings`)."""
    incoming = KeptSchema.objects.filter(cluster=cluster, state=KeptSchema.State.RESTORING)
    scratch = RestoreDrill.objects.filter(cluster=cluster, dropped_at__isnull=True)
    return {
        *incoming.values_list("incoming_schema", flat=True),
        *scratch.values_list("scratch_schema", flat=True),
    }
