"""The loop that reads every cluster's log every two seconds: few threads, and a session kept for each cluster."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from psycopg import Connection, Error

from tenants.detection.collect import note_unreachable, read_log, read_pooler_log
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster
from tenants.models.clusters import ClusterLogin
from tenants.postgres import connect, translate

log = logging.getLogger(__name__)
TICK_SECONDS, REFRESH_SECONDS, PAUSE_SECONDS = 2.0, 10.0, 10.0
THREADS = 4
# Sessions that are kept between readings; further clusters get one for each reading.
KEPT = 16
PURPOSE = ClusterLogin.Purpose.MONITOR
Session = tuple[AbstractContextManager[Connection[Any]], Connection[Any]]


def all_clusters() -> list[Cluster]:
    """Every cluster that is registered now. Tenants' own databases write into the log of their server."""
    return list(Cluster.objects.filter(host_cluster=None).select_related("pooler"))


def watch_all(end: threading.Event, clusters: Callable[[], Iterable[Cluster]] = all_clusters) -> None:
    """Read the logs of `clusters` until `end` is set. They are asked for again and again: new ones are read too.

    One that hangs keeps one thread; one that fails is left alone for ten seconds, and says why on its row.
    """
    Detector(clusters).run(end)


class Detector:
    """What is read when. A cluster is read by one thread at once, and only the loop's thread begins a reading."""

    def __init__(self, clusters: Callable[[], Iterable[Cluster]]) -> None:
        """Begins with `run`."""
        self._clusters = clusters
        self._sessions: dict[int, Session] = {}
        self._busy: set[int] = set()
        self._due: dict[int, float] = {}

    def run(self, end: threading.Event) -> None:
        """Read until the end, then close what was kept."""
        known: list[Cluster] = []
        refresh_at = 0.0
        with ThreadPoolExecutor(THREADS, thread_name_prefix="detector") as threads:
            while not end.is_set():
                if time.monotonic() >= refresh_at:
                    known = self._refreshed(known)
                    refresh_at = time.monotonic() + REFRESH_SECONDS
                for cluster in known:
                    if cluster.pk not in self._busy and time.monotonic() >= self._due.get(cluster.pk, 0.0):
                        self._busy.add(cluster.pk)
                        threads.submit(self._look, cluster)
                end.wait(TICK_SECONDS)
        for pk in list(self._sessions):
            self._close(pk)
        connections.close_all()

    def _refreshed(self, known: list[Cluster]) -> list[Cluster]:
        try:
            found = list(self._clusters())
        except (DatabaseError, InterfaceError) as error:
            log.error("the list of clusters is read again in %s s: %s", REFRESH_SECONDS, type(error).__name__)
            close_old_connections()
            return known
        for gone in set(self._sessions) - {cluster.pk for cluster in found} - self._busy:
            self._close(gone)
        return found

    def _look(self, cluster: Cluster) -> None:
        """One reading, in one of the threads."""
        try:
            if pooler := getattr(cluster, "pooler", None):  # first: it needs no server
                read_pooler_log(pooler)
            read_log(cluster, self._session(cluster))
            self._due.pop(cluster.pk, None)
        except (ControlPlaneError, DatabaseError, InterfaceError, Error) as error:
            told = translate(error) if isinstance(error, Error) else error
            self._close(cluster.pk)
            close_old_connections()
            self._note(cluster, str(told))
        finally:
            if len(self._sessions) > KEPT:
                self._close(cluster.pk)
            self._busy.discard(cluster.pk)

    def _session(self, cluster: Cluster) -> Connection[Any]:
        if cluster.pk not in self._sessions:
            opened = connect(cluster.dsn(PURPOSE), autocommit=True, application_name="controlplane detector")
            self._sessions[cluster.pk] = opened, opened.__enter__()
        return self._sessions[cluster.pk][1]

    def _close(self, pk: int) -> None:
        session = self._sessions.pop(pk, None)
        if session:
            with suppress(ControlPlaneError, Error):
                session[0].__exit__(None, None, None)

    def _note(self, cluster: Cluster, reason: str) -> None:
        """On its row, so that people see that nobody watches; said in the log when it begins."""
        begins = cluster.pk not in self._due
        self._due[cluster.pk] = time.monotonic() + PAUSE_SECONDS
        if begins:
            log.error("the log of %s cannot be read: %s", cluster, reason)
        try:
            note_unreachable(cluster, reason)
        except (DatabaseError, InterfaceError):
            log.error("the row of the log cannot be written")
            close_old_connections()
