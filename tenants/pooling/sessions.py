"""What happens at the pooler when a login is closed or opened. Neither ever fails the act it belongs to: what counts is
done on the server, where a closed login has no session and gets none."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Pooler
from tenants.pooling import console
from tenants.postgres import Dsn, through_pooler

log = logging.getLogger(__name__)
# The pooler tries a login that failed again after half a second; it may need several rounds.
OPEN_SECONDS = 4.0


def of_cluster(cluster: Cluster) -> Pooler | None:
    """The pooler in front of the cluster's server, if it has one."""
    return Pooler.objects.select_related("cluster").filter(cluster=cluster.host_cluster_id or cluster.pk).first()


def end_clients(cluster: Cluster, logins: Sequence[str]) -> int:
    """Disconnect the pooler's clients of logins that have just been closed. Returns how many.

    PgBouncer before 1.24 cannot do that by login: there such clients stay connected, to nothing. Their server
    connections have been ended, and no new one is let in, so their next statement fails.
    """
    pooler = of_cluster(cluster)
    if pooler is None:
        return 0
    try:
        return console.kill_clients(pooler, logins)
    except ControlPlaneError as error:
        log.warning("pooler.end_clients_failed", extra={"pooler": str(pooler), "error": error.code})
        return 0


def await_logins(cluster: Cluster, passwords: Mapping[str, str]) -> bool:
    """Wait until the pooler lets these logins in, at most 4 s: after a failed login it refuses some time longer.

    Whether all of them got through; a cluster without a pooler has nothing to wait for.
    """
    pooler = of_cluster(cluster)
    if pooler is None or pooler.state == Pooler.State.DOWN:
        return pooler is None
    limit = time.monotonic() + OPEN_SECONDS
    dsn = pooler.dsn(cluster.dsn().dbname)
    return all(_gets_in(pooler, dsn.replace(user=name, password=word), limit) for name, word in passwords.items())


def _gets_in(pooler: Pooler, dsn: Dsn, limit: float) -> bool:
    while True:
        try:
            with through_pooler(dsn, application_name="controlplane open login") as connection:
                connection.execute("SELECT 1")
            return True
        except ControlPlaneError as error:
            if time.monotonic() > limit:
                log.warning(
                    "pooler.login_not_open", extra={"pooler": str(pooler), "login": dsn.user, "error": error.code}
                )
                return False
            time.sleep(0.1)
