"""What a probe is given, and what it brings."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tenants.models import Cluster, Tenant
from tenants.models.tenants import on_server


@dataclass(frozen=True)
class Subject:
    """A tenant as probes know it."""

    tenant: uuid.UUID
    schema: str
    created_at: datetime
    connection_limit: int
    quota_bytes: int
    # The database that it has for itself; empty when it shares the cluster's.
    own_database: str


@dataclass(frozen=True)
class Before:
    """What a probe remembers of its last look that succeeded; nothing before the first one."""

    taken_at: datetime | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, list[float]] | None = None


@dataclass(frozen=True)
class Look:
    """What came of one look: samples, and what the next look has to know."""

    rows: tuple[Any, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)
    # Counters of every statement; too many for `memory`.
    counters: dict[str, list[float]] | None = None
    unavailable: str = ""
    queries: int = 0


def subjects(cluster: Cluster) -> dict[str, Subject]:
    """The tenants of a server that have anything on it, those in databases of their own included, by schema."""
    rows = (
        Tenant.objects.filter(on_server(cluster))
        .exclude(state=Tenant.State.PURGED)
        .values_list(
            "id", "schema_name", "created_at", "plan__connection_limit", "plan__storage_quota_bytes", "limits",
            "cluster_id", "cluster__dbname",
        )
    )  # fmt: skip
    return {
        schema: Subject(
            tenant, schema, created_at, int(limits.get("connection_limit", connections)),
            int(limits.get("storage_quota_bytes", quota)), dbname if home != cluster.pk else "",
        )
        for tenant, schema, created_at, connections, quota, limits, home, dbname in rows.iterator()
    }  # fmt: skip
