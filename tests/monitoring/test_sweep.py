"""A sweep: each probe fails for itself, what was seen stays with its time, and a server that hangs holds up nobody."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from monitoring import readings, sweep
from monitoring.catalogue import metric
from monitoring.models import ClusterSample, FleetSample, ProbeState, TenantActivity
from monitoring.tasks import sweep_clusters
from tenants import seen
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Operation
from tenants.postgres import connect
from tests.commands.support import call, refusal, text
from tests.monitoring.places import Place, prepared, session_of
from tests.pooling.support import Front, front, needs_pgbouncer, through
from tests.support.processes import wait_for


@pytest.fixture(scope="module")
def place(template: Any) -> Iterator[Place]:
    with prepared("18", template) as made:
        yield made


class Relay:
    """Stands before a server, and stops passing anything on when it is told to."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self._to, self.still = self.listener.getsockname()[1], port, threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._to))
            self._open += [client, upstream]
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.still.is_set():
                    return
                target.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        for one in (self.listener, *self._open):
            one.close()


def test_a_sweep_brings_newest_figures(place: Place) -> None:
    made = place.tenant()
    with session_of(made):
        outcomes = {one.probe: one for one in sweep.sweep_cluster(place.cluster)}
    assert list(outcomes) == ["activity", "server", "sizes"]
    assert not [one for one in outcomes.values() if one.error or one.skipped]
    assert sum(one.queries for one in outcomes.values()) <= 17
    found = readings.latest_of_tenant(made.tenant.pk)
    assert found["connections"].value == 1
    assert found["connections"].taken_at == outcomes["activity"].taken_at
    assert found["size_bytes"].value > 0
    [reading] = [one for one in readings.latest(metric("cluster", "connections")) if one.cluster == place.cluster.pk]
    assert reading.taken_at == outcomes["server"].taken_at
    state = place.state("activity")
    assert (state.queries, state.rows) == (outcomes["activity"].queries, outcomes["activity"].rows)


def test_a_server_that_is_down_is_said_to_be_and_keeps_its_last_figures(place: Place) -> None:
    place.look("activity")
    good = place.state("activity").ok_at
    down = Cluster.objects.get(pk=place.cluster.pk)
    port = down.port
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free = listener.getsockname()[1]
        Cluster.objects.filter(pk=down.pk).update(port=free)
        down.refresh_from_db()
        outcomes = sweep.sweep_cluster(down)
        assert [bool(one.error) for one in outcomes] == [True] * 3
        state = place.state("activity")
        first = state.failing_since
        assert (state.ok_at, state.rows) == (good, 0)
        assert state.tried_at == first > good
        assert "cannot be reached" in state.error
        sweep.sweep_cluster(down, ["activity"])
        again = place.state("activity")
        assert again.failing_since == first < again.tried_at
    finally:
        Cluster.objects.filter(pk=down.pk).update(port=port)
    place.look("activity")
    state = place.state("activity")
    assert (state.error, state.failing_since) == ("", None)
    assert state.ok_at > first


def test_a_server_that_hangs_is_given_up(place: Place) -> None:
    """It takes the connection and answers the first statements; its own timeouts are of no use then."""
    port = place.cluster.port
    relay = Relay(port)
    hung = Cluster.objects.get(pk=place.cluster.pk)
    hung.port = relay.port
    try:
        running = sweep.Sweep(hung, seconds=1.5)
        assert not running.run("activity").error
        relay.still.set()
        begun = time.monotonic()
        outcomes = [running.run("server"), running.run("sizes")]
        assert time.monotonic() - begun < 5
        assert all("within 1.5 s" in one.error for one in outcomes), outcomes
        running.close()
    finally:
        relay.close()
    assert place.look("server").rows == 1


def test_a_probe_fails_for_itself_alone(place: Place) -> None:
    """What one of them needs is taken from the login."""
    with place.superuser() as superuser:
        login = place.cluster.dsn("monitor").user
        superuser.execute("REVOKE EXECUTE ON FUNCTION pg_postmaster_start_time() FROM cp_operator")
        try:
            outcomes = {one.probe: one for one in sweep.sweep_cluster(place.cluster)}
        finally:
            superuser.execute("GRANT EXECUTE ON FUNCTION pg_postmaster_start_time() TO cp_operator")
    assert login.startswith("cp_monitor_")
    assert "permission denied" in outcomes["server"].error
    assert not outcomes["activity"].error
    assert not outcomes["sizes"].error


def test_one_at_a_time_looks_and_the_other_goes_away(place: Place) -> None:
    before = place.look("activity").taken_at
    with connect(_registry(), autocommit=True) as other:
        key = f"controlplane.monitoring.{place.cluster.pk}.activity"
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
        outcomes = {one.probe: one for one in sweep.sweep_cluster(place.cluster, ["activity", "server"])}
        assert outcomes["activity"].skipped
        assert not outcomes["server"].skipped
        assert place.state("activity").ok_at == before
        other.execute("SELECT pg_advisory_unlock_all()")
    assert not sweep.sweep_cluster(place.cluster, ["activity"])[0].skipped
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)


def _registry() -> Any:
    return Cluster.objects.get(is_default=True).dsn()


def test_unknown_probes_and_tenants_databases_are_refused(place: Place) -> None:
    with pytest.raises(ControlPlaneError, match="no probe nonsense"):
        sweep.sweep_cluster(place.cluster, ["nonsense"])
    own = Cluster(name="own", host_cluster=place.cluster, dbname="x")
    with pytest.raises(ControlPlaneError, match="with its server"):
        sweep.sweep_cluster(own)


def test_silence_is_told_by_cluster(place: Place) -> None:
    sweep.sweep_cluster(place.cluster)
    silent = metric("cluster", "probe_silent_seconds")

    def now() -> float:
        [reading] = [one for one in readings.latest(silent) if one.cluster == place.cluster.pk]
        return reading.value

    assert now() == 0
    ProbeState.objects.filter(cluster=place.cluster, probe="sizes").update(
        ok_at=timezone.now() - timedelta(seconds=400)
    )
    assert 95 < now() < 130
    ProbeState.objects.filter(cluster=place.cluster, probe="server").update(ok_at=timezone.now() - timedelta(hours=1))
    assert 3500 < now() < 3600
    ProbeState.objects.filter(cluster=place.cluster, probe="activity").delete()
    Cluster.objects.filter(pk=place.cluster.pk).update(created_at=timezone.now() - timedelta(hours=9))
    assert now() > 9 * 3600 - 120


def test_probe_clusters_tells_what_was_seen(place: Place) -> None:
    made = place.tenant()
    with session_of(made) as session:
        session.execute("BEGIN")
        told = call("probe_clusters", "--cluster", place.cluster.name)["probes"]
    assert [row["probe"] for row in told] == ["activity", "server", "sizes"]
    activity, server, sizes = told
    assert (activity["queries"], activity["error"]) == (4, "")
    assert activity["seen"]["idle_in_transaction"] >= 1
    assert server["seen"]["connections"] >= 1
    assert sizes["seen"]["total_bytes"] > 0
    whole = call("probe_clusters", "--probe", "control_plane")["probes"]
    assert [row["probe"] for row in whole] == ["control_plane"]
    assert whole[0]["seen"]["tenants"] >= 1
    shown = text("probe_clusters", "--cluster", place.cluster.name, "--probe", "activity")
    assert "idle_in_transaction" in shown


def test_probe_clusters_says_what_failed(place: Place) -> None:
    port = place.cluster.port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    Cluster.objects.filter(pk=place.cluster.pk).update(port=free)
    try:
        code, error = refusal("probe_clusters", "--cluster", place.cluster.name, "--probe", "server")
    finally:
        Cluster.objects.filter(pk=place.cluster.pk).update(port=port)
    assert code == 5
    assert f"server of {place.cluster.name}" in str(error)


def test_the_control_plane_looks_at_itself(cluster: Any) -> None:
    seen.note(seen.Who.WORKER)
    seen.note(seen.Who.BEAT)
    before = sweep.sweep_control_plane()
    first = FleetSample.objects.get(taken_at=before.taken_at)
    stuck = Operation.objects.create(
        kind="tenant.provision", state="running", actor_kind="command", actor_label="tests", channel="command",
        lease_expires_at=timezone.now() - timedelta(seconds=90), cluster=cluster,
    )  # fmt: skip
    waiting = Operation.objects.create(
        kind="tenant.provision", state="pending", actor_kind="command", actor_label="tests", channel="command",
        created_at=timezone.now() - timedelta(seconds=500),
    )  # fmt: skip
    try:
        outcome = sweep.sweep_control_plane()
    finally:
        Operation.objects.filter(pk__in=[stuck.pk, waiting.pk]).update(state="failed", finished_at=timezone.now())
    row = FleetSample.objects.get(taken_at=outcome.taken_at)
    assert row.operations_stuck - first.operations_stuck == 1
    assert row.operations_pending - first.operations_pending == 1
    assert row.oldest_pending_seconds >= 500
    assert 0 <= row.worker_seen_seconds < 60
    assert 0 <= row.beat_seen_seconds < 60
    assert row.queue_depth >= 0
    assert row.tenants >= row.tenants_active
    assert 3 <= outcome.queries <= 12
    assert ProbeState.objects.get(cluster=None, probe="control_plane").ok_at == outcome.taken_at
    assert sweep.sweep_control_plane()
    later = FleetSample.objects.latest("taken_at")
    assert later.operations_failed >= 2


@needs_pgbouncer
@pytest.mark.parametrize("major", ["18"])
def test_who_waits_at_the_pooler_is_seen(major: str, template: Any) -> None:
    with front(major, template) as place:
        made = place.tenant(limits={"pool_size": 1})
        _pool_of_one(place)
        holder = through(made.connection)
        waiting = threading.Thread(target=lambda: _wait(made))
        with holder:
            holder.execute("BEGIN")
            waiting.start()
            rows: list[ClusterSample] = []

            def look() -> bool:
                outcomes = {one.probe: one for one in sweep.sweep_cluster(place.cluster, sweep.OFTEN)}
                assert outcomes["pooler"].queries == 3
                rows.append(_sampled(place, outcomes["server"]))
                return bool(rows[-1].pooler_waiting)

            wait_for(look, seconds=15)
            holder.execute("ROLLBACK")
        waiting.join()
        assert (rows[-1].pooler_waiting, rows[-1].pooler_active) == (1, 1)
        assert rows[-1].pooler_maxwait_seconds > 0
        [pool] = ProbeState.objects.get(cluster=place.cluster, probe="pooler").memory["waiting"]
        assert pool["login"].startswith(made.tenant.schema_name)
        pid = place.bouncer.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            outcomes = {one.probe: one for one in sweep.sweep_cluster(place.cluster, sweep.OFTEN)}
        finally:
            os.kill(pid, signal.SIGCONT)
        assert outcomes["pooler"].error
        assert not outcomes["server"].error
        assert _sampled(place, outcomes["server"]).pooler_waiting is None


def _sampled(place: Front, outcome: sweep.Outcome) -> ClusterSample:
    return ClusterSample.objects.get(cluster_id=place.cluster.pk, taken_at=outcome.taken_at)


def _pool_of_one(place: Front) -> None:
    own = place.pooler.dsn().conninfo()
    with psycopg.connect(own, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        console.execute("SET default_pool_size = 1")


def _wait(made: Any) -> None:
    with through(made.connection) as session:
        session.execute("SELECT 1")


def test_beat_has_every_server_looked_at(place: Place, celery_worker_process: Any) -> None:
    place.tenant()
    begun = timezone.now()
    assert sweep_clusters() >= 1
    looked = ProbeState.objects.filter(cluster=place.cluster, probe="activity", ok_at__gt=begun)
    wait_for(looked.exists, seconds=30, what="the look", running=celery_worker_process)
    assert TenantActivity.objects.filter(cluster_id=place.cluster.pk, taken_at__gt=begun).exists()
