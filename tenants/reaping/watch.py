"""The reaper's process: one thread a cluster, so that one that hangs keeps no other waiting."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.utils import timezone

from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Reaper
from tenants.models.clusters import ClusterLogin
from tenants.postgres import connect
from tenants.reaping.reaper import Look, reap_cluster

log = logging.getLogger(__name__)
TICK_SECONDS, SHORTEST_SECONDS = 1.0, 0.05
NOTE_SECONDS, REFRESH_SECONDS, PAUSE_SECONDS = 5.0, 10.0, 5.0
PURPOSE = ClusterLogin.Purpose.REAPER


def watch_all(end: threading.Event) -> None:
    """Watch every cluster until `end` is set: those registered later too, and no longer those that are gone."""
    watches: dict[int, Watch] = {}
    while not end.is_set():
        try:
            known = {cluster.pk: cluster for cluster in Cluster.objects.filter(host_cluster=None)}
            for gone in watches.keys() - known.keys():
                watches.pop(gone).stop()
            for new in known.keys() - watches.keys():
                watches[new] = Watch(known[new])
        except (DatabaseError, InterfaceError) as error:
            log.error("the list of clusters is read again in %s s: %s", REFRESH_SECONDS, type(error).__name__)
            close_old_connections()
        end.wait(REFRESH_SECONDS)
    for watch in watches.values():
        watch.stop()
    for watch in watches.values():
        watch.thread.join(TICK_SECONDS)


class Watch:
    """The watch over one cluster, in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        """Begins at once."""
        self.cluster = cluster
        self._end = threading.Event()
        self._noted_at = 0.0
        self.thread = threading.Thread(target=self._run, name=f"reaper-{cluster.name}", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Have it end after its present look."""
        self._end.set()

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                try:
                    self._watch()
                except (ControlPlaneError, DatabaseError, InterfaceError) as error:
                    log.error("reaping on %s goes on in %s s: %s", self.cluster, PAUSE_SECONDS, error)
                    close_old_connections()
                    self._note(str(error))
                    self._end.wait(PAUSE_SECONDS)
        finally:
            connections.close_all()

    def _watch(self) -> None:
        """Look again and again on one connection, until it breaks."""
        cluster = Cluster.objects.get(pk=self.cluster.pk)
        with connect(cluster.dsn(PURPOSE), autocommit=True, application_name="controlplane reaper") as connection:
            databases, refresh_at = [], 0.0
            while not self._end.is_set():
                if time.monotonic() >= refresh_at:
                    databases = list(cluster.databases.values_list("dbname", flat=True))
                    refresh_at = time.monotonic() + REFRESH_SECONDS
                look = reap_cluster(cluster, connection, databases=databases)
                for reaped in look.reaped:
                    log.warning("session.reaped", extra=reaped.as_audit())
                if time.monotonic() - self._noted_at > NOTE_SECONDS:
                    self._note("")
                self._end.wait(pause(look))

    def _note(self, error: str) -> None:
        """On its row, so that people see that somebody watches."""
        self._noted_at = time.monotonic()
        try:
            Reaper.objects.update_or_create(
                cluster=self.cluster, defaults={"seen_at": timezone.now(), "last_error": error[:500]}
            )
        except (DatabaseError, InterfaceError):
            log.error("the reaper's row cannot be written")
            close_old_connections()


def pause(look: Look) -> float:
    """Seconds until the next look: a second, or less when a session's time ends within it."""
    if look.next_ms is None:
        return TICK_SECONDS
    return min(TICK_SECONDS, max(SHORTEST_SECONDS, look.next_ms / 1000))
