"""Boards: their figures are the database's, old ones never pass for new ones, and their queries do not grow."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backups.models import Backup, BackupStatus
from monitoring.history import SPANS
from monitoring.models import Alert, AlertRule, ClusterSample, ProbeState, TenantActivity
from tenants.models import AuditEvent, Cluster, Operation, Tenant
from tests.admin.measured import grow, measure
from tests.admin.support import events, text_of, url
from tests.support.fixtures import fresh_slug


@pytest.fixture
def watched(plan: Any) -> Any:
    """A cluster that is only a row: what probes would know of it is made up."""
    made = Cluster.objects.create(name=fresh_slug("seen"), host="127.0.0.1", port=1, dbname="nowhere", state="disabled")
    yield made
    ProbeState.objects.filter(cluster=made).delete()
    Tenant.objects.filter(cluster=made).update(state="purged")


@pytest.fixture
def living(watched: Any, plan: Any) -> Any:
    """`living(3)`: tenants of it, that are only rows, too."""

    def make(count: int, state: str = "active") -> list[Tenant]:
        return [
            Tenant.objects.create(
                name=slug, slug=slug, schema_name=f"t_{uuid.uuid4().hex[:20]}", state=state, plan=plan, cluster=watched,
                template="tiny", template_version=1,
            )
            for slug in (fresh_slug("seen") for _ in range(count))
        ]  # fmt: skip

    return make


def charts_of(client: Any, view: str, *arguments: Any, span: str = "24h") -> dict[str, Any]:
    answer = client.get(url(view, *arguments), {"span": span})
    assert answer.status_code == 200
    assert answer.json()["span"] == span
    found: dict[str, Any] = answer.json()["charts"]
    return found


def last(chart: dict[str, Any], name: str) -> float:
    [line] = [line for line in chart["lines"] if line["name"] == name]
    assert len(line["values"]) == chart["count"]
    found: float = [value for value in line["values"] if value is not None][-1]
    return found


def test_a_tenants_charts_are_its_samples(browse: Any, watched: Any, living: Any) -> None:
    one, other = living(2)
    at = measure(watched, [one.pk, other.pk])
    charts = charts_of(browse("viewer"), "board_tenant_charts", one.pk)
    newest = TenantActivity.objects.get(tenant_id=one.pk, taken_at=at)
    begin = charts["load"]["begin"] + (charts["load"]["count"] - 1) * charts["load"]["step"]
    rows = [row for row in TenantActivity.objects.filter(tenant_id=one.pk) if row.taken_at.timestamp() * 1000 >= begin]
    assert rows
    expected = sum(row.total_seconds or 0 for row in rows) / sum(row.span_seconds or 0 for row in rows)
    assert last(charts["load"], "busy sessions") == pytest.approx(expected)
    assert charts["connections"]["taken_at"] == round(at.timestamp() * 1000)
    assert charts["connections"]["marks"][0]["value"] == newest.connection_limit == 20
    assert None in charts["size"]["lines"][0]["values"], "before the first sample there is a gap"
    assert charts["size"]["unit"] == "bytes"


def test_a_clusters_charts_are_its_samples(browse: Any, watched: Any) -> None:
    at = measure(watched, [])
    charts = charts_of(browse("viewer"), "board_cluster_charts", watched.pk, span="1h")
    begin = charts["wal"]["begin"] + (charts["wal"]["count"] - 1) * charts["wal"]["step"]
    rows = [
        row for row in ClusterSample.objects.filter(cluster_id=watched.pk) if row.taken_at.timestamp() * 1000 >= begin
    ]
    expected = sum(row.wal_bytes or 0 for row in rows) / sum(row.span_seconds or 0 for row in rows)
    assert last(charts["wal"], "write-ahead log") == pytest.approx(expected)
    assert charts["connections"]["marks"] == [{"value": 197.0, "label": "197 slots", "tone": "danger", "after": None}]
    page = text_of(browse("viewer").get(url("board_cluster", watched.pk)))
    newest = ClusterSample.objects.get(cluster_id=watched.pk, taken_at=at)
    assert f"Connections {newest.connections} " in page
    assert re.search(r"server well [\d.]+ (ms|s|min) ago", page)


def test_the_fleets_charts_show_each_cluster_and_how_long_creations_took(
    browse: Any, watched: Any, living: Any
) -> None:
    measure(watched, [])
    [tenant] = living(1)
    client = browse("viewer")
    before = charts_of(client, "fleet_charts")["creation"]
    now = timezone.now()
    Operation.objects.create(
        kind="tenant.provision", state="succeeded", tenant=tenant, actor_kind="command", actor_label="tests",
        channel="command", created_at=now - timedelta(seconds=20), finished_at=now - timedelta(seconds=10.5),
        result={"warm": False},
    )  # fmt: skip
    charts = charts_of(client, "fleet_charts")
    slot = charts["creation"]["labels"].index("≤ 10 s")
    cold_then, cold_now = (chart["lines"][1]["values"] for chart in (before, charts["creation"]))
    assert cold_now[slot] == cold_then[slot] + 1
    assert [(mark["value"], mark["after"]) for mark in charts["creation"]["marks"]] == [(8.0, 9), (10.0, 10)]
    assert watched.name in {line["name"] for line in charts["storage"]["lines"]}
    assert max(value for value in charts["creation_course"]["lines"][2]["values"] if value is not None) >= 9.5
    assert last(charts["operations"], "waiting") >= 0


@pytest.mark.parametrize("span", SPANS)
def test_every_span_answers_with_at_most_300_points(browse: Any, watched: Any, living: Any, span: str) -> None:
    [tenant] = living(1)
    grow(watched, [tenant.pk])
    client = browse("viewer")
    for view, arguments in (
        ("fleet_charts", []),
        ("board_cluster_charts", [watched.pk]),
        ("board_tenant_charts", [tenant.pk]),
    ):
        for chart in charts_of(client, view, *arguments, span=span).values():
            assert chart.get("count", 0) <= 300
    page = client.get(url("board_tenant", tenant.pk), {"span": span}).content.decode()
    assert f'href="?span={span}#charts-title" aria-current="true"' in page
    assert f"charts/?span={span}" in page
    assert client.get(url("board_tenant_charts", tenant.pk), {"span": "nonsense"}).json()["span"] == "24h"


def test_old_figures_are_never_shown_as_those_of_now(browse: Any, watched: Any, living: Any) -> None:
    [tenant] = living(1)
    client = browse("viewer")
    assert "no data yet" in text_of(client.get(url("board_cluster", watched.pk)))
    old = measure(watched, [tenant.pk], at=timezone.now() - timedelta(hours=2))
    since = f"no data since {old:%Y-%m-%d %H:%M} UTC"
    for view, pk in (("board_cluster", watched.pk), ("board_tenant", tenant.pk), ("board_cluster_summary", watched.pk)):
        page = text_of(client.get(url(view, pk)))
        assert since in page, view
        assert "too old to be shown" in page, view
        assert "Cache hit ratio " not in re.sub(r"Over time.*", "", page), view
    fleet = client.get(url("fleet")).content.decode()
    row = re.search(rf">{watched.name}</a>.*?</tr>", fleet, re.DOTALL)
    assert row is not None
    assert since in re.sub(r"<[^>]+>", "", row[0])
    assert " of 197" not in row[0]
    assert tenant.slug not in fleet.split('id="ranking-busiest"')[1]
    assert since in text_of(client.get(url("board_tenant_summary", tenant.pk)))


def test_the_top_lists_name_the_largest_and_those_at_their_limit(browse: Any, watched: Any, living: Any) -> None:
    tenants = living(12)
    measure(watched, [one.pk for one in tenants], hours=0.05)
    grow(watched, [one.pk for one in tenants])
    page = browse("viewer").get(url("board_cluster", watched.pk)).content.decode()
    today = timezone.now().date()
    assert f"up to {today:%Y-%m-%d}" in page
    for ranking in ("largest", "growing"):
        block = page.split(f'id="ranking-{ranking}"')[1].split("</section>")[0]
        names = re.findall(r"<span>(seen-[^<]+)</span>", block)
        assert names == [one.slug for one in reversed(tenants)][:10], ranking
    assert "+288 KiB a day" in page  # the 12th grows by 12 KiB an hour
    TenantActivity.objects.filter(tenant_id=tenants[0].pk).update(connections=20)
    limits = text_of(browse("viewer").get(url("board_cluster", watched.pk))).split("Nearest to their connection limit")[
        1
    ]
    assert re.search(rf"ago {tenants[0].slug} 100 %", limits)


def test_backups_are_counted_from_their_history(browse: Any, living: Any) -> None:
    from controlplane.boards.backups import backup_figures

    before = backup_figures()
    now = timezone.now()
    old, new, _never = living(3)
    for tenant, state, hours in (
        (old, "succeeded", 300),
        (new, "succeeded", 2),
        (new, "failed", 1),
        (old, "failed", 900),
    ):
        Backup.objects.create(
            tenant=tenant, origin_id=tenant.pk, slug=tenant.slug, schema_name=tenant.schema_name, template="tiny",
            template_version=1, state=state, created_at=now - timedelta(hours=hours), snapshot_at=now,
            finished_at=now - timedelta(hours=hours),
        )  # fmt: skip
    for tenant, covered, overdue in ((old, now - timedelta(days=4000), now - timedelta(days=1)), (new, now, None)):
        BackupStatus.objects.update_or_create(
            tenant=tenant, defaults={"covered_until": covered, "overdue_at": overdue, "planned_at": now}
        )
    after = backup_figures()
    assert (after.day.succeeded, after.day.failed) == (before.day.succeeded + 1, before.day.failed + 1)
    assert (after.month.succeeded, after.month.failed) == (before.month.succeeded + 2, before.month.failed + 1)
    assert (after.never, after.overdue) == (before.never + 1, before.overdue + 1)
    assert (after.oldest_slug, after.oldest_at) == (old.slug, now - timedelta(days=4000))
    page = text_of(browse("viewer").get(url("index")))
    assert f"of {old.slug}" in page
    assert f"{after.day.succeeded} of {after.day.total}" in page
    BackupStatus.objects.filter(tenant=old).delete()


def test_an_operation_that_nobody_works_on_stands_out(browse: Any, living: Any) -> None:
    [tenant] = living(1)
    ages = {"state": "running", "lease_expires_at": timezone.now() - timedelta(minutes=1)}
    long_ago = timezone.now() - timedelta(days=3000)
    made = Operation.objects.create(
        kind="tenant.suspend", tenant=tenant, actor_kind="command", actor_label="tests", channel="command",
        created_at=long_ago, started_at=long_ago, **ages,
    )  # fmt: skip
    page = text_of(browse("viewer").get(url("index")))
    assert f"tenant.suspend {tenant.slug} nobody beats for it since" in page
    Operation.objects.filter(pk=made.pk).update(lease_expires_at=timezone.now() + timedelta(minutes=1))
    assert f"{tenant.slug} nobody beats" not in text_of(browse("viewer").get(url("index")))
    Operation.objects.filter(pk=made.pk).update(state="failed", finished_at=long_ago)


def fires(tenant: Tenant, severity: str = "critical") -> Alert:
    rule, _ = AlertRule.objects.get_or_create(
        slug=f"boards-{severity}",
        defaults={
            "name": "Boards", "scope": "tenant", "metric": "connections_used_ratio", "comparison": ">=",
            "threshold": 0.8, "severity": severity, "summary": "Near its limit", "runbook": "connections-near-limit",
        },
    )  # fmt: skip
    now = timezone.now()
    return Alert.objects.create(
        rule=rule, subject=f"tenant:{tenant.pk}", subject_label=tenant.slug, tenant=tenant, cluster=tenant.cluster,
        state="firing", severity=severity, summary=f"{tenant.slug} is near its limit", value=0.93, seen_at=now,
        held_since=now, created_at=now, fired_at=now,
    )  # fmt: skip


def test_what_fires_stands_on_the_boards_until_somebody_looks_after_it(browse: Any, living: Any) -> None:
    mild, urgent = living(2)
    alerts = [fires(mild, "warning"), fires(urgent)]
    operator, viewer = browse("operator"), browse("viewer")
    for view, pk, shown in (
        ("index", None, [urgent, mild]),
        ("board_cluster", urgent.cluster_id, [urgent, mild]),
        ("board_tenant", urgent.pk, [urgent]),
    ):
        page = operator.get(url(view, *([pk] if pk else [])))
        block = page.content.decode().split('id="board-alerts"')[1].split("</section>")[0]
        positions = [block.index(f"{tenant.slug} is near its limit") for tenant in shown]
        assert positions == sorted(positions), "the most urgent first"
        assert "93 %" in block
        assert '/runbooks/connections-near-limit"' in block
        assert (mild.slug in block) == (mild in shown)
    acknowledging = url("board_acknowledge", alerts[1].pk)
    assert acknowledging in operator.get(url("fleet")).content.decode()
    assert acknowledging not in viewer.get(url("fleet")).content.decode()
    assert viewer.post(acknowledging).status_code == 403
    assert operator.get(acknowledging).status_code == 405
    assert operator.post(url("board_acknowledge", 2**40)).status_code == 404
    board = url("board_tenant", urgent.pk)
    answer = operator.post(acknowledging, {"next": board}, follow=True)
    assert answer.redirect_chain == [(board, 302)]
    block = text_of(answer).split("Alerts 1")[1]
    assert f"{operator.person.username}, " in block
    assert "Acknowledge " not in block
    alerts[1].refresh_from_db()
    assert alerts[1].state == "acknowledged"
    assert events("alert.acknowledge", target_id=str(alerts[1].pk)).count() == 1
    page = f"http://testserver{board}?span=7d"
    assert operator.post(acknowledging, {"next": board}, HTTP_REFERER=page).headers["Location"] == page
    away = operator.post(acknowledging, {"next": board}, HTTP_REFERER=f"https://elsewhere.example{board}")
    assert away.headers["Location"] == board
    again = operator.post(acknowledging, {"next": "https://elsewhere.example/"}, follow=True)
    assert again.redirect_chain == [(url("index"), 302)]
    assert "only one that fires is acknowledged" in text_of(again)
    Alert.objects.filter(pk__in=[one.pk for one in alerts]).update(state="resolved", resolved_at=timezone.now())


def test_no_alert_is_no_good_news_when_nobody_evaluates(browse: Any) -> None:
    client = browse("viewer")
    AlertRule.objects.update(evaluated_at=None)
    Alert.objects.exclude(state="resolved").update(
        state="resolved", resolved_at=timezone.now(), fired_at=timezone.now()
    )
    assert "The rules were never evaluated." in text_of(client.get(url("fleet")))
    AlertRule.objects.get_or_create(
        slug="boards-idle", defaults={"name": "Idle", "scope": "fleet", "metric": "tenants", "comparison": ">",
                                      "threshold": 1e9, "severity": "info", "summary": "Many"},
    )  # fmt: skip
    AlertRule.objects.update(evaluated_at=timezone.now() - timedelta(hours=1))
    assert re.search(r"rules evaluated: no data since .*? UTC None fires", text_of(client.get(url("fleet"))))
    AlertRule.objects.update(evaluated_at=timezone.now())
    assert re.search(r"rules evaluated: \d+ m?s ago None fires", text_of(client.get(url("fleet"))))


def test_a_tenants_board_says_how_each_check_stands(browse: Any, tenant: Any) -> None:
    from monitoring.health import tenant_health

    page = browse("viewer").get(url("board_tenant", tenant.pk)).content.decode()
    block = page.split('id="tenant-health"')[1].split("</section>")[0]
    health = tenant_health(tenant=tenant)
    assert re.findall(r'<th scope="row">([^<]+)</th>', block) == [check.title for check in health.checks]
    assert len(health.checks) >= 5
    assert f"Health: {health.status}." in block


def test_a_tenants_worst_statements_are_asked_of_its_server(browse: Any, tenant: Any, living: Any) -> None:
    client = browse("viewer")
    page = text_of(client.get(url("board_tenant_statements", tenant.pk)))
    assert "cannot be asked for" not in page
    assert re.search(r"Asked at \d\d:\d\d:\d\d UTC", page)
    [nowhere] = living(1)
    page = text_of(client.get(url("board_tenant_statements", nowhere.pk)))
    assert "They cannot be asked for now" in page


VIEWS = (
    "board_tenant", "board_tenant_figures", "board_tenant_charts", "board_tenant_summary", "board_tenant_statements",
)  # fmt: skip
CLUSTER_VIEWS = ("board_cluster", "board_cluster_figures", "board_cluster_charts", "board_cluster_summary")


def test_who_may_see_nothing_sees_no_figures_either(browse: Any, watched: Any, living: Any) -> None:
    from django.test import Client

    [tenant] = living(1)
    nobody, viewer = browse(), browse("viewer")
    pages = [
        url("fleet_charts"),
        *(url(view, tenant.pk) for view in VIEWS),
        *(url(v, watched.pk) for v in CLUSTER_VIEWS),
    ]
    for page in pages:
        assert viewer.get(page).status_code == 200, page
        assert viewer.post(page).status_code == 405, page
        denied = events("access.denied").count()
        assert nobody.get(page).status_code == 403, page
        assert events("access.denied").count() == denied + 1
        assert Client().get(page).status_code == 302, page
    assert viewer.get(url("board_tenant", uuid.uuid4())).status_code == 404
    assert viewer.get(url("board_cluster", 2**40)).status_code == 404
    assert AuditEvent.objects.exists()


def test_their_queries_do_not_grow_with_tenants(browse: Any, watched: Any, living: Any) -> None:
    client = browse("viewer")
    first = living(2)
    measure(watched, [one.pk for one in first], hours=0.02)
    grow(watched, [one.pk for one in first])
    paths = [
        url("index"), url("fleet"), url("fleet_charts"), url("board_cluster", watched.pk),
        url("board_cluster_charts", watched.pk), url("board_tenant", first[0].pk),
        url("board_tenant_charts", first[0].pk), url("board_tenant_summary", first[0].pk),
    ]  # fmt: skip

    def queries() -> dict[str, int]:
        counted = {}
        for path in paths:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(path).status_code == 200
            counted[path] = len(captured)
        return counted

    queries()  # the first look of a session writes down when that was
    before = queries()
    more = living(20)
    measure(watched, [one.pk for one in (*first, *more)], hours=0.02)
    grow(watched, [one.pk for one in more])
    assert queries() == before
    assert max(before.values()) <= 40
