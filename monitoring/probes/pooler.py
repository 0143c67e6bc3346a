"""The PgBouncer in front of a server: who waits there."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.probes.looks import Look
from tenants.models import Cluster
from tenants.pooling.console import read_traffic

# SHOW VERSION, SHOW POOLS, SHOW STATS.
QUERIES = 3
WITHIN_SECONDS = 5.0


@dataclass(frozen=True)
class PoolerFigures:
    """Columns of ClusterSample."""

    pooler_active: int | None = None
    pooler_waiting: int | None = None
    pooler_maxwait_seconds: float | None = None


def probe(cluster: Cluster) -> Look:
    """One look at its console. The figures go into the server's row. Raises ClusterUnavailable or ClusterError."""
    traffic = read_traffic(cluster.pooler, within_seconds=WITHIN_SECONDS)
    waiting = sum(pool.clients_waiting for pool in traffic.pools)
    figures = PoolerFigures(
        sum(pool.clients_active for pool in traffic.pools),
        waiting,
        max((pool.max_wait_seconds for pool in traffic.pools if pool.clients_waiting), default=0.0),
    )
    longest = sorted((pool for pool in traffic.pools if pool.clients_waiting), key=lambda pool: -pool.max_wait_seconds)
    pools = [
        {"database": pool.database, "login": pool.login, "waiting": pool.clients_waiting,
         "seconds": round(pool.max_wait_seconds, 3)}
        for pool in longest[:10]
    ]  # fmt: skip
    memory = {"version": traffic.version, "pools": len(traffic.pools), "waiting": pools}
    return Look((figures,), memory, queries=QUERIES)
