"""/metrics: what all processes of a host have counted adds up, whoever dies; readings with their age; who may look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from controlplane.celery import app as celery
from controlplane.metrics import files, readings
from monitoring import partitions
from monitoring.models import ClusterSample, ProbeState
from provisioning import services
from tenants import metrics, operations
from tenants.models import Cluster, Operation, Tenant
from tests.rest.support import problem
from tests.support.databases import PROJECT
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import celery_worker, gunicorn, wait_for

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, sample: str, **labels: str) -> float | None:
    """The only sample of this name with these labels."""
    found = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return sum(found) if found else None


def promtool(text: str) -> str:
    """What promtool has to say against a page."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr if done.returncode or done.stderr else ""


# --- many processes --------------------------------------------------------------------------------------------------


def cold_tenants(template: Any, count: int) -> list[Tenant]:
    """Tenants that a worker makes."""
    made = [
        services.provision_tenant(
            name="Acme", slug=fresh_slug(), template=template.template.name, respond_async=True, **WHO
        )
        for _ in range(count)
    ]
    return [one.tenant for one in made]


def made(tenants: list[Tenant]) -> bool:
    return Tenant.objects.filter(pk__in=[one.pk for one in tenants], state="active").count() == len(tenants)


def test_what_web_and_workers_count_adds_up_whoever_dies(template: Any, tmp_path: Path) -> None:
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    provisioned = {"kind": "tenant.provision", "outcome": "succeeded"}
    celery.control.purge()  # other tests' operations would count, too
    with gunicorn(workers=2, threads=2, **shared) as web:

        def page() -> str:
            # Each question on a connection of its own: either worker may answer.
            return httpx.get(f"{web.url}/metrics").text

        def healths() -> float:
            return (
                value(
                    page(),
                    "django_http_requests_total_by_view_transport_method_total",
                    view="controlplane.health.healthz",
                )
                or 0
            )

        before = healths()
        for _ in range(40):
            assert httpx.get(f"{web.url}/healthz").status_code == 200
        assert {healths() for _ in range(8)} == {before + 40}
        with celery_worker(concurrency=2, **shared) as worker:
            first = cold_tenants(template, 4)
            wait_for(lambda: made(first), seconds=60, what="the tenants", running=worker)
            wait_for(lambda: value(page(), "controlplane_operations_total", **provisioned) == 4, what="the count")
            text = page()
            assert value(text, "controlplane_provisioning_duration_seconds_count", path="cold") == 4
            assert value(text, "controlplane_provisioning_duration_seconds_count", path="warm") is None
            assert value(text, "controlplane_provisioning_duration_seconds_bucket", path="cold", le="3600.0") == 4
            assert promtool(text) == ""
            worker.kill()
        assert list((tmp_path / "metrics").glob("counter_*.db"))
        assert value(page(), "controlplane_operations_total", **provisioned) == 4  # a sum never falls
        with celery_worker(concurrency=2, **shared) as worker:
            second = cold_tenants(template, 2)
            wait_for(lambda: made(second), seconds=60, what="the tenants", running=worker)
            wait_for(lambda: value(page(), "controlplane_operations_total", **provisioned) == 6, what="the count")
        # A worker of the web server dies; what it has counted stays, and its files go.
        children = subprocess.run(["pgrep", "-P", str(web.pid)], capture_output=True, text=True, check=True).stdout
        counting = [one for one in children.split() if list((tmp_path / "metrics").glob(f"counter_*-{one}-*.db"))]
        child = int(counting[0])
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: not list((tmp_path / "metrics").glob(f"*-{child}-*")), what="the folding", running=web)
        assert healths() == before + 40
        assert value(page(), "controlplane_operations_total", **provisioned) == 6


COUNTING = """
    import os, sys
    sys.path.insert(0, {project!r})
    from controlplane.metrics import files
    files.prepare()
    from prometheus_client import Counter, Histogram
    counter = Counter("c", "C.", ["l"])
    histogram = Histogram("h", "H.", buckets=(1, 2))
    counter.labels("a").inc(3)
    histogram.observe(1.5)
    if os.fork() == 0:  # a child counts for itself
        counter.labels("b").inc(5)
        os._exit(0)
    os.wait()
    counter.labels("a").inc(1)
    print("counted", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    return tmp_path


def counting() -> subprocess.Popen[str]:
    """A process that counts and lives on."""
    code = textwrap.dedent(COUNTING.format(project=str(PROJECT)))
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "counted\n"
    return started


def sums() -> dict[str, float]:
    return {
        sample.name + sample.labels.get("l", "") + sample.labels.get("le", ""): sample.value
        for family in files.collected()
        for sample in family.samples
    }


def expected(count: int) -> dict[str, float]:
    return {
        "c_totala": 4 * count, "c_totalb": 5 * count, "h_sum": 1.5 * count, "h_count": count,
        "h_bucket1.0": 0, "h_bucket2.0": count, "h_bucket+Inf": count,
    }  # fmt: skip


def test_the_dead_are_folded_and_the_living_are_not(shared: Path) -> None:
    one, two = counting(), counting()
    try:
        assert sums() == expected(2)
        assert len(list(shared.glob("*.alive"))) == 2  # the children are dead and folded
        one.kill()
        one.wait()
        assert sums() == expected(2)
        assert sums() == expected(2)
        assert len(list(shared.glob("*.alive"))) == 1
        assert len(list(shared.glob("counter_*.db"))) == 2
    finally:
        for process in (one, two):
            process.kill()
            process.wait()
    assert sums() == expected(2)
    assert {path.name for path in shared.iterdir()} == {"lock", "counter_folded.db", "histogram_folded.db"}


@pytest.mark.parametrize("step", ["rename", "unlink", "write_text"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_who_is_killed_while_folding_leaves_nothing_counted_twice_nor_lost(
    shared: Path, step: str, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        process = counting()
        process.kill()
        process.wait()
    real, calls = getattr(Path, step), 0

    def killed(self: Path, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == which + 1:
            raise KeyboardInterrupt  # here it ends
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, step, killed)
        with suppress(KeyboardInterrupt):
            files.fold()
    assert sums() == expected(2)
    assert not (shared / files.JOURNAL).exists()


def test_a_directory_that_cannot_be_written_costs_only_the_sharing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    environment = {**os.environ, files.VARIABLE: str(tmp_path / "file" / "metrics")}
    ran = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


# --- operations ------------------------------------------------------------------------------------------------------


def counted(counter: Any, **labels: str) -> float:
    return sum(
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith(("_total", "_count")) and labels.items() <= sample.labels.items()
    )


def test_each_end_is_counted_once_with_its_path(template: Any, cluster: Cluster) -> None:
    from tests.provisioning.support import provision

    warm = {"path": "warm", "outcome": "succeeded"}
    before = counted(metrics.PROVISIONING_SECONDS, **warm)
    provision(template)
    assert counted(metrics.PROVISIONING_SECONDS, **warm) == before + 1
    cancelled = {"kind": "tenant.provision", "outcome": "cancelled"}
    before = counted(metrics.OPERATIONS, **cancelled)
    waiting = services.provision_tenant(
        name="Acme", slug=fresh_slug(), template=template.template.name, respond_async=True, **WHO
    )
    operations.cancel(waiting.operation, **WHO)
    assert counted(metrics.OPERATIONS, **cancelled) == before + 1


def test_counting_never_fails_an_operation(template: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.provisioning.support import provision

    def broken(*args: Any) -> Any:
        raise OSError("no space left")

    for each in (metrics.OPERATIONS, metrics.OPERATION_SECONDS, metrics.PROVISIONING_SECONDS):
        monkeypatch.setattr(each, "labels", broken)
    made = provision(template)
    assert Operation.objects.get(pk=made.operation.pk).state == "succeeded"


# --- readings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen() -> Iterator[Cluster]:
    """A cluster that a probe has looked at 40 s ago."""
    made = Cluster.objects.create(name=f"seen-{uuid.uuid4().hex[:8]}", host="127.0.0.1", port=1, dbname="nowhere")
    at = timezone.now() - timedelta(seconds=40)
    partitions.ensure(ClusterSample, [at])
    ClusterSample.objects.create(cluster_id=made.pk, taken_at=at, connections=30, connection_slots=120)
    ProbeState.objects.create(cluster=made, probe="server", tried_at=at, ok_at=at)
    ProbeState.objects.create(cluster=made, probe="sizes", tried_at=at, failing_since=at, error="no")
    readings.forget()
    yield made
    made.delete()
    readings.forget()


def test_readings_are_gauges_with_their_age(seen: Cluster) -> None:
    text = Client().get("/metrics?part=readings").content.decode()
    of = {"cluster": seen.name}
    assert value(text, "controlplane_cluster_connections", **of) == 30
    assert value(text, "controlplane_cluster_connection_slots_used_ratio", **of) == 0.25
    assert value(text, "controlplane_probe_age_seconds", probe="server", **of) == pytest.approx(40, abs=5)
    assert value(text, "controlplane_probe_ok", probe="server", **of) == 1
    assert value(text, "controlplane_probe_age_seconds", probe="sizes", **of) is None
    assert value(text, "controlplane_probe_ok", probe="sizes", **of) == 0
    assert value(text, "controlplane_creation_seconds") is not None
    assert value(text, "controlplane_readings_ok") == 1
    assert "controlplane_tenant_" not in text
    assert promtool(text) == ""


def test_an_old_reading_is_no_figure_of_now(seen: Cluster) -> None:
    ProbeState.objects.filter(cluster=seen, probe="server").update(ok_at=timezone.now() - timedelta(minutes=16))
    readings.forget()
    text = Client().get("/metrics").content.decode()
    assert value(text, "controlplane_cluster_connections", cluster=seen.name) is None
    assert value(text, "controlplane_probe_age_seconds", cluster=seen.name) == pytest.approx(960, abs=5)


def test_readings_are_kept_for_seconds_and_looked_up_by_few_queries(
    seen: Cluster, django_assert_max_num_queries: Any, django_assert_num_queries: Any
) -> None:
    with django_assert_max_num_queries(40):
        Client().get("/metrics?part=readings")
    with django_assert_num_queries(0):
        Client().get("/metrics?part=readings")


def test_without_a_database_there_are_still_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(*args: Any) -> Any:
        raise OperationalError("the database is away")

    readings.forget()
    monkeypatch.setattr(Cluster.objects, "values_list", away)
    text = Client().get("/metrics").content.decode()
    readings.forget()
    assert value(text, "controlplane_readings_ok") == 0
    assert "django_http_requests" in text


# --- who may look, and what they can make of it ----------------------------------------------------------------------

PAGES = ["/metrics", "/metrics/tenants"]


@pytest.mark.parametrize("page", PAGES)
def test_metrics_are_for_networks_that_are_named(page: str, settings: Any) -> None:
    import ipaddress

    assert Client().get(page).status_code == 200
    near, far = Client(REMOTE_ADDR="10.1.2.3"), Client(REMOTE_ADDR="192.0.2.1")
    problem(near.get(page), 403, "forbidden")
    settings.METRICS_NETWORKS = [ipaddress.ip_network("10.1.0.0/16")]
    assert near.get(page).status_code == 200
    assert Client(REMOTE_ADDR="::ffff:10.1.2.3").get(page).status_code == 200
    problem(far.get(page), 403, "forbidden")
    problem(Client().get(page), 403, "forbidden")
    # A proxy has its own address, and passes on anybody.
    for header in ("X-Forwarded-For", "Forwarded"):
        problem(near.get(page, headers={header: "10.1.2.3"}), 403, "forbidden")
    problem(Client(REMOTE_ADDR="").get(page), 403, "forbidden")
    problem(near.post(page), 405, "method_not_allowed")


@pytest.mark.parametrize("page", PAGES)
def test_metrics_are_for_whoever_has_the_token(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stranger = Client(REMOTE_ADDR="192.0.2.1")
    problem(stranger.get(page, headers={"Authorization": "Bearer "}), 403, "forbidden")
    monkeypatch.setenv("METRICS_TOKEN", "open-sesame")
    assert stranger.get(page, headers={"Authorization": "Bearer open-sesame"}).status_code == 200
    problem(stranger.get(page, headers={"Authorization": "Bearer other"}), 403, "forbidden")
    problem(stranger.get(page), 403, "forbidden")
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("METRICS_TOKEN_FILE", str(tmp_path / "token"))
    assert stranger.get(page, headers={"Authorization": "Bearer from-a-file"}).status_code == 200


def test_nobody_can_make_series(template: Any) -> None:
    for _ in range(2):
        for number in range(3):
            Client().generic(f"INVENTED{number}", "/healthz")
            Client().get(f"/no-such-page-{number}")
    text = Client().get("/metrics?part=processes").content.decode()
    assert "INVENTED" not in text
    assert "no-such-page" not in text
    problem(Client().get("/metrics?part=other"), 400, "invalid")


def test_a_network_that_is_none_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=PROJECT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "METRICS_NETWORKS": "10.0.0.0/8,nonsense"},
    )  # fmt: skip
    assert ran.returncode == 2
    assert "METRICS_NETWORKS" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
