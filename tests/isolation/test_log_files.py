"""Logs read from files on this machine: the server's, and PgBouncer's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provisioning import services, slots
from tenants.detection.collect import read_log, read_pooler_log
from tenants.detection.watch import PURPOSE, watch_all
from tenants.models import AuditEvent, Cluster, IsolationAttempt, LogWatch, Pooler, PoolerLogWatch
from tenants.postgres import connect
from tests.isolation.arena import SERVERS, Server, cluster_at, superuser
from tests.pooling.support import Front, front, needs_pgbouncer
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import wait_for

REFUSED = psycopg.errors.InsufficientPrivilege
WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


def tenant(cluster: Cluster, template: Any) -> services.Provisioned:
    assert slots.build(slots.reserve(cluster, template))
    return services.provision_tenant(
        name="Acme", slug=fresh_slug(), cluster=cluster.name, template=template.template.name, **WHO
    )


def events(made: services.Provisioned) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="isolation.attempt", tenant_id=made.tenant.pk).order_by("id"))


class Mirror:
    """The server's real log, line by line, in files of our own that can be rotated without harm to others."""

    def __init__(self, original: Path, directory: Path) -> None:
        self.original, self.directory, self.file = original, directory, directory / "server.json"
        self._at = original.stat().st_size
        self.follow()

    def follow(self) -> None:
        """Append what was written meanwhile."""
        with self.original.open("rb") as handle:
            handle.seek(self._at)
            new = handle.read()
        new = new[: new.rfind(b"\n") + 1]
        self._at += len(new)
        with self.file.open("ab") as handle:
            handle.write(new)


@pytest.fixture(scope="module", params=[18, 15])
def place(request: pytest.FixtureRequest, template: Any) -> Iterator[tuple[Server, Cluster, Any, Any]]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        yield server, cluster, tenant(cluster, template), tenant(cluster, template)


@pytest.fixture
def mirror(place: Any, tmp_path: Path) -> Iterator[Mirror]:
    """The cluster's log is read from there, and over SQL it could not be."""
    server, cluster, *_ = place
    monitor = cluster.dsn(PURPOSE).user
    with superuser(server, cluster.dbname) as session:
        row = session.execute("SELECT current_setting('log_directory'), pg_current_logfile('jsonlog')").fetchone()
        assert row is not None
        session.execute(f"REVOKE EXECUTE ON FUNCTION cp.log_attempts(text, bigint, int), cp.log_files() FROM {monitor}")
    Cluster.objects.filter(pk=cluster.pk).update(log_path=str(tmp_path))
    cluster.refresh_from_db()
    LogWatch.objects.filter(cluster=cluster).delete()
    yield Mirror(Path(row[0]) / Path(row[1]).name, tmp_path)
    Cluster.objects.filter(pk=cluster.pk).update(log_path="")
    cluster.refresh_from_db()
    with superuser(server, cluster.dbname) as session:
        session.execute(f"GRANT EXECUTE ON FUNCTION cp.log_attempts(text, bigint, int), cp.log_files() TO {monitor}")


def read(cluster: Cluster) -> int:
    with connect(cluster.dsn(PURPOSE), autocommit=True) as connection:
        return read_log(cluster, connection)


def tries(attacker: services.Provisioned, statement: str) -> None:
    assert attacker.connection is not None
    with psycopg.connect(attacker.connection.dsn, autocommit=True) as session, pytest.raises(REFUSED):
        session.execute(statement)


def test_a_servers_log_is_read_from_its_files_through_rotation(place: Any, mirror: Mirror, template: Any) -> None:
    _, cluster, _, victim = place
    attacker = tenant(cluster, template)
    foreign = f"{victim.tenant.schema_name}.customers"
    tries(attacker, f"TRUNCATE {foreign}")  # before the watch begins: not looked at
    wait_for(lambda: mirror.follow() or b"TRUNCATE" in mirror.file.read_bytes(), what="the line in the log")
    read(cluster)
    watch = LogWatch.objects.get(cluster=cluster)
    assert (watch.is_watched, watch.source, watch.file) == (True, "file", "server.json")
    assert events(attacker) == []
    tries(attacker, f"SELECT 1 FROM {foreign}")
    wait_for(lambda: mirror.follow() or (read(cluster) and events(attacker)), what="the event")
    tries(attacker, f"DELETE FROM {foreign}")  # rotated away before anybody has read it
    wait_for(lambda: mirror.follow() or b"DELETE FROM" in mirror.file.read_bytes(), what="the line in the log")
    mirror.file.rename(mirror.directory / "server-old.json")
    tries(attacker, f"UPDATE {foreign} SET id = 1")
    wait_for(lambda: mirror.follow() or (read(cluster) and False) or len(events(attacker)) == 3, what="all three")
    assert [event.after["statement"] for event in events(attacker)] == ["SELECT", "DELETE", "UPDATE"]
    assert [row.count for row in IsolationAttempt.objects.filter(attacker=attacker.tenant)] == [1, 1, 1]
    assert LogWatch.objects.get(cluster=cluster).file == "server.json"


def test_a_log_that_is_not_there_is_not_watched(place: Any, mirror: Mirror) -> None:
    _, cluster, *_ = place
    for path, words in ((mirror.directory / "nowhere", "No such file"), (mirror.directory / "empty", "no log at")):
        (mirror.directory / "empty").mkdir(exist_ok=True)
        Cluster.objects.filter(pk=cluster.pk).update(log_path=str(path))
        cluster.refresh_from_db()
        assert read(cluster) == 0
        watch = LogWatch.objects.get(cluster=cluster)
        assert not watch.is_watched
        assert words in watch.reason


@pytest.fixture(scope="module")
def pooled(template: Any) -> Iterator[Front]:
    with front("18", template) as made:
        Pooler.objects.filter(cluster=made.cluster).update(log_path=str(made.bouncer.events))
        made.cluster = Cluster.objects.select_related("pooler").get(pk=made.cluster.pk)
        read_pooler_log(made.pooler)
        yield made


def fails_to_log_in(made: services.Provisioned) -> None:
    assert made.connection is not None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(made.connection.dsn, password="wrong", connect_timeout=5)


@needs_pgbouncer
def test_a_wrong_password_at_the_pooler_is_an_event_within_ten_seconds(pooled: Front, api_client: Any) -> None:
    made = pooled.tenant()
    end = threading.Event()
    reading = threading.Thread(target=watch_all, args=(end, lambda: [pooled.cluster]))
    reading.start()
    try:
        began = time.monotonic()
        fails_to_log_in(made)
        wait_for(lambda: events(made), seconds=10, what="the event")
        assert time.monotonic() - began < 10
    finally:
        end.set()
        reading.join(10)
    (event,) = events(made)
    after = event.after
    assert (event.reason, after["target"], after["target_name"]) == ("login", made.tenant.slug, made.connection.user)  # type: ignore[union-attr]
    assert (after["statement"], after["address"], after["login"]) == ("LOGIN", "127.0.0.1", None)
    shown = api_client("clusters:read").get(f"clusters/{pooled.cluster.pk}").json()["pooler"]["log_watch"]
    assert (shown["is_watched"], shown["read_from"]) == (True, "file")


@needs_pgbouncer
def test_the_poolers_log_is_read_through_rotation_and_restart(pooled: Front) -> None:
    made = pooled.tenant()
    log = pooled.bouncer.events
    fails_to_log_in(made)
    log.rename(log.with_name("events.log.1"))
    with psycopg.connect(pooled.bouncer.url, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        console.execute("RELOAD")
    fails_to_log_in(made)
    pooled.bouncer.stop()
    pooled.bouncer.start()
    fails_to_log_in(made)
    wait_for(lambda: (read_pooler_log(pooled.pooler) and False) or _count(made) == 3, what="all three")
    place = PoolerLogWatch.objects.get(pooler=pooled.pooler)
    assert (place.file, place.offset) == (log.name, log.stat().st_size)
    assert read_pooler_log(pooled.pooler) == 0


def _count(made: services.Provisioned) -> int:
    return sum(IsolationAttempt.objects.filter(target=made.tenant).values_list("count", flat=True))
