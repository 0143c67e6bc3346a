"""Prometheus' and Alertmanager's files: made from the one source, and right in their own programs' eyes."""

from __future__ import annotations

import io
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from backups.models import BackupStatus
from controlplane.metrics import tenants as page
from monitoring.alerts.shipped import SHIPPED
from monitoring.catalogue import METRICS, Scope
from monitoring.prometheus.rules import all_rules
from tenants.identifiers import new_schema_name
from tenants.models import Tenant
from tests.docker.files import DOCKER, PROJECT
from tests.monitoring.dials import a_cluster
from tests.monitoring.test_metrics import value
from tests.support.fixtures import fresh_slug

COMMITTED = DOCKER / "prometheus"


def tool(*command: Any, cwd: Path = COMMITTED) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def made(directory: Path, *options: str) -> list[str]:
    out = io.StringIO()
    call_command("prometheus_files", "--write", str(directory), "--json", *options, stdout=out)
    written: list[str] = json.loads(out.getvalue())["written"]
    return written


def test_what_is_committed_is_what_would_be_made(tmp_path: Path) -> None:
    call_command("prometheus_files", "--check", str(DOCKER))
    assert "prometheus/rules.yml" in made(tmp_path)
    assert made(tmp_path) == []
    (tmp_path / "prometheus" / "rules.yml").write_text("groups: []\n", encoding="utf-8")
    with pytest.raises(CommandError, match=r"rules\.yml"):
        call_command("prometheus_files", "--check", str(tmp_path))
    assert made(tmp_path) == ["prometheus/rules.yml"]


def test_each_shipped_rule_is_there_with_its_page() -> None:
    groups = yaml.safe_load((COMMITTED / "rules.yml").read_text(encoding="utf-8"))["groups"]
    rules = {rule["labels"]["rule"]: rule for group in groups for rule in group["rules"]}
    assert {rule.slug for rule in SHIPPED} < rules.keys()
    assert len({rule["alert"] for rule in rules.values()}) == len(rules)
    for slug, rule in rules.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/{rule['labels']['runbook']}")
        runbook = (PROJECT / "docs" / "runbooks" / f"{rule['labels']['runbook']}.md").read_text(encoding="utf-8")
        assert f"`{slug}`" in runbook.split("## ")[0], f"the page about {slug} does not name it"
        assert "}" not in rule["annotations"]["summary"].replace("}}", "")
    creation = rules["creation-too-slow"]
    assert (creation["expr"], creation["labels"]["severity"]) == ("controlplane_creation_seconds > 10", "critical")
    connections = rules["connections-near-limit"]
    assert connections["expr"] == "controlplane_tenant_connections_used_ratio >= 0.8"
    assert connections["for"] == "30s"
    assert rules["cross-tenant-attempt"]["keep_firing_for"] == "5m"


def test_prometheus_gets_every_figure_that_a_rule_needs() -> None:
    shown = {one.prometheus for one in [*page.exported(), *page.sparse()]}
    shown |= {one.prometheus for one in METRICS.values() if one.exported and one.scope is not Scope.TENANT}
    for rule in SHIPPED:
        scope, _, name = rule.metric.partition(".")
        assert METRICS[Scope(scope), name].prometheus in shown, rule.slug
    for one in page.sparse():
        assert not one.exported
        below = [rule for rule in SHIPPED if rule.metric == f"tenant.{one.name}" and rule.comparison.startswith("<")]
        assert not below, "0 is not shown"


def test_promtool_and_amtool_like_them(tmp_path: Path) -> None:
    count = len(list(all_rules()))
    assert f"{count} rules found" in tool("promtool", "check", "rules", "rules.yml")
    tool("promtool", "check", "config", "--syntax-only", "prometheus.yml")
    assert "SUCCESS" in tool("amtool", "check-config", "alertmanager.yml")
    token = tmp_path / "token"
    token.write_text("t", encoding="utf-8")
    made(tmp_path, "--token-file", str(token), "--target", "localhost:1", "--runbooks", "https://ops.example.com/books")
    tool("promtool", "check", "config", "prometheus.yml", cwd=tmp_path / "prometheus")
    text = (tmp_path / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    assert "runbook_url: https://ops.example.com/books/creation-slow" in text


def test_each_rule_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    cases = yaml.safe_load((COMMITTED / "rules.test.yml").read_text(encoding="utf-8"))["tests"]
    firing = {
        told["exp_labels"]["rule"] for case in cases for test in case["alert_rule_test"] for told in test["exp_alerts"]
    }
    assert firing == {rule.slug for rule in all_rules()}
    tool("promtool", "test", "rules", "rules.test.yml")
    # A threshold that is another is noticed.
    text = (COMMITTED / "rules.yml").read_text(encoding="utf-8")
    (tmp_path / "rules.yml").write_text(text.replace("creation_seconds > 8", "creation_seconds > 13"), encoding="utf-8")
    (tmp_path / "rules.test.yml").write_text((COMMITTED / "rules.test.yml").read_text(encoding="utf-8"), "utf-8")
    done = subprocess.run(["promtool", "test", "rules", "rules.test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "CreationSlow" in done.stdout + done.stderr


def test_what_is_rarely_so_is_shown_of_those_of_whom_it_is(plan: Any, settings: Any) -> None:
    cluster = a_cluster()
    rows = [
        Tenant.objects.create(
            name="Acme", slug=fresh_slug(), plan=plan, cluster=cluster, template="tiny", template_version=1,
            schema_name=new_schema_name(), state=Tenant.State.ACTIVE,
        )
        for _ in range(3)
    ]  # fmt: skip
    now = timezone.now()
    for row, failures in zip(rows, (0, 1, 2), strict=True):
        BackupStatus.objects.create(
            tenant=row, covered_until=now, overdue_at=now + timedelta(days=1), failures=failures
        )
    settings.METRICS_TENANTS_MAX = 1  # a cap hides nobody who has an alert
    text = Client().get("/metrics/tenants").content.decode()
    failed = "controlplane_tenant_backup_failed"
    of = [value(text, failed, tenant=row.slug, cluster=cluster.name, plan=plan.slug) for row in rows]
    assert of == [None, 1, 1]
    assert value(text, "controlplane_tenant_backup_age_seconds", tenant=rows[2].slug) is None
    BackupStatus.objects.filter(tenant__in=rows).update(failures=0)
    assert value(Client().get("/metrics/tenants").content.decode(), failed, cluster=cluster.name) is None
    BackupStatus.objects.filter(tenant__in=rows).delete()
    Tenant.objects.filter(cluster=cluster).delete()
    cluster.delete()
