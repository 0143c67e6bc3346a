"""What monitoring itself knows of clusters."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone

from monitoring.models import ProbeState
from monitoring.sweep import OF_A_SERVER, interval
from tenants import facts
from tenants.models import Cluster


def register() -> None:
    """Make them known to whoever watches."""
    facts.register("cluster.probe_silent_seconds", probe_silent)


def probe_silent() -> Iterator[facts.Fact]:
    """How long the figures of each server's most silent probe are overdue; 0 while all come in time.

    A probe that never brought any is silent since its server was registered.
    """
    now = timezone.now()
    seen = {
        (cluster, probe): ok_at
        for cluster, probe, ok_at in ProbeState.objects.values_list("cluster_id", "probe", "ok_at")
        if ok_at is not None
    }
    for cluster in Cluster.objects.filter(host_cluster=None).select_related("pooler"):
        probes = [name for name in OF_A_SERVER if name != "pooler" or hasattr(cluster, "pooler")]
        late = [
            (now - seen.get((cluster.pk, probe), cluster.created_at)).total_seconds() - interval(probe)
            for probe in probes
        ]
        yield facts.Fact(max(0.0, *late), cluster=cluster.pk)
