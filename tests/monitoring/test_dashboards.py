"""Grafana's dashboards: every expression of them is asked of a real Prometheus that scrapes the running product."""

from __future__ import annotations

import io
import json
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.core.management import call_command
from django.utils import timezone

from backups.models import BackupStatus
from monitoring.models import ClusterSample, FleetSample, TenantActivity, TenantSize
from monitoring.sweep import sweep_cluster, sweep_control_plane
from provisioning import pool, services
from tests.backups.support import Home
from tests.docker.files import DOCKER, PROJECT
from tests.isolation.arena import SERVERS, cluster_at
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import free_port, gunicorn, running, wait_for

BOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
# What another process of this host counts: nobody here takes ten backups to see a histogram.
COUNTING = """
    import sys, time
    sys.path.insert(0, {project!r})
    from controlplane.metrics import files
    files.prepare()
    from tenants import metrics
    while True:
        metrics.operation_ended("tenant.provision", "succeeded", 0.2)
        metrics.PROVISIONING_SECONDS.labels("warm", "succeeded").observe(0.2)
        metrics.BACKUP_SECONDS.labels("succeeded").observe(3)
        metrics.RESTORE_SECONDS.labels("copy", "succeeded").observe(3)
        metrics.attempted({{"foreign_object": 1}})
        metrics.notified("webhook", "sent")
        time.sleep(0.2)
"""


def expressions(path: Path) -> list[tuple[str, str]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"]) for panel in document["panels"] for target in panel["targets"]]


@contextmanager
def prometheus(directory: Path, target: str, **environment: str) -> Iterator[str]:
    """A real one, with the generated configuration, but quicker; gives its address."""
    (directory / "token").write_text("a token of tests", encoding="utf-8")
    options = ("--write", str(directory), "--target", target, "--token-file", str(directory / "token"))
    call_command("prometheus_files", *options, "--alertmanager", "127.0.0.1:1", stdout=io.StringIO())
    config = directory / "prometheus" / "prometheus.yml"
    text = config.read_text(encoding="utf-8")
    for slow in ("15s", "30s"):
        text = text.replace(f"interval: {slow}", "interval: 1s")
    config.write_text(text.replace("scrape_timeout: 10s", "scrape_timeout: 1s"), encoding="utf-8")
    port = free_port()
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with running(command, **environment) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _ready(url), what="Prometheus", running=process)
        yield url


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def ask(url: str, expression: str) -> list[Any]:
    """What an expression gives now; an expression that is none raises."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


@pytest.fixture(scope="module")
def scraped(template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A Prometheus that has seen a tenant at work, and what the dashboards' variables are."""
    if SERVERS[18].missing:
        pytest.skip(SERVERS[18].missing)
    place = tmp_path_factory.mktemp("prometheus")
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(place / "counts"), "METRICS_TOKEN": "a token of tests"}
    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_at(SERVERS[18], "lockdown"))
        made = _tenant(Home(SERVERS[18], cluster, template), stack)
        sweep_control_plane()
        for _ in range(2):
            outcomes = sweep_cluster(cluster)
            assert [one.error for one in outcomes if one.error] == []
        _fill(cluster.pk)
        script = textwrap.dedent(COUNTING.format(project=str(PROJECT)))
        stack.enter_context(running([sys.executable, "-c", script], **shared))
        web = stack.enter_context(gunicorn(workers=1, **shared))
        url = stack.enter_context(prometheus(place, web.url.removeprefix("http://")))
        wait_for(lambda: len(ask(url, "controlplane_tenant_size_bytes")) > 0, seconds=60, what="a scrape")
        time.sleep(6)  # a rate needs some scrapes, and an increase as well
        yield url, {"cluster": cluster.name, "tenant": made.tenant.slug, "__rate_interval": "30s"}


def _tenant(home: Home, stack: ExitStack) -> Any:
    assert pool.fill_one(home.cluster, home.template, 1)
    made = services.provision_tenant(
        name="Acme", slug=fresh_slug(), template=home.template.template.name, cluster=home.cluster.name,
        actor=ACTOR, source=SOURCE,
    )  # fmt: skip
    assert made.connection is not None
    session = stack.enter_context(psycopg.connect(made.connection.dsn, autocommit=True))
    session.execute("SELECT count(*) FROM customers")
    BackupStatus.objects.update_or_create(tenant=made.tenant, defaults={"covered_until": timezone.now()})
    return made


def _fill(cluster: int) -> None:
    """What no server of tests has (a replica, a pooler) stands in its samples all the same."""
    at = ClusterSample.objects.filter(cluster_id=cluster).latest("taken_at").taken_at
    ClusterSample.objects.filter(cluster_id=cluster, taken_at=at).update(
        replication_lag_seconds=0.5, pooler_waiting=1, pooler_maxwait_seconds=0.1, disk_total_bytes=100,
        disk_free_bytes=60, span_seconds=1, transactions=5, deadlocks=0, temp_bytes=0, wal_bytes=100, blocks_hit=9,
        blocks_read=1, oldest_transaction_seconds=0.5,
    )  # fmt: skip
    TenantActivity.objects.filter(cluster_id=cluster).update(calls=5, total_seconds=0.5, span_seconds=1)
    TenantSize.objects.filter(cluster_id=cluster, quota_bytes=None).update(quota_bytes=10**9)
    FleetSample.objects.filter(oldest_pending_seconds=None).update(oldest_pending_seconds=0)
    FleetSample.objects.filter(worker_seen_seconds=None).update(worker_seen_seconds=1)
    FleetSample.objects.filter(beat_seen_seconds=None).update(beat_seen_seconds=1)


def test_each_expression_gives_something(scraped: tuple[str, dict[str, str]]) -> None:
    url, variables = scraped
    empty = []
    count = 0
    for path in BOARDS:
        for title, expression in expressions(path):
            for name, value in variables.items():
                expression = expression.replace(f"${name}", value)
            assert "$" not in expression
            count += 1
            if all(one["value"][1] == "NaN" for one in ask(url, expression)):
                empty.append(f"{path.stem}: {title}: {expression}")
    assert empty == []
    assert count > 60
    # One that is wrong is found.
    with pytest.raises(AssertionError):
        ask(url, "sum by (le (controlplane_tenants)")
    assert ask(url, "controlplane_tenant_sizes_bytes") == []


def test_the_variables_find_their_values(scraped: tuple[str, dict[str, str]]) -> None:
    url, variables = scraped
    for path in BOARDS:
        for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]:
            metric, label = variable["definition"].removeprefix("label_values(").rstrip(")").split(", ")
            assert variables[variable["name"]] in {one["metric"].get(label) for one in ask(url, metric)}


def test_the_rules_are_evaluated_without_an_error(scraped: tuple[str, dict[str, str]]) -> None:
    url, _ = scraped
    targets = httpx.get(f"{url}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
    assert {one["labels"]["job"]: one["lastError"] for one in targets} == {
        "controlplane": "",
        "controlplane-tenants": "",
    }
    groups = httpx.get(f"{url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 30
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
