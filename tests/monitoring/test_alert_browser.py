"""Alerts in a real browser: found in the list, looked after there and on a board, rules tried before they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitoring.alerts import rules
from monitoring.alerts.evaluate import evaluate
from monitoring.models import Alert, ProbeState
from tests.admin.browser import Visitor, chromium, visit  # noqa: F401  (fixtures)
from tests.admin.conftest import groups, make_tenant, person, tenant  # noqa: F401  (fixtures)
from tests.admin.measured import measure
from tests.admin.support import events, url
from tests.admin.test_browser import unnamed_fields
from tests.monitoring.dials import a_cluster, dial
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


@pytest.fixture
def fires() -> Iterator[Callable[[], Alert]]:
    """`fires()`: an alert that fires, found by an evaluation, of a cluster of its own."""
    with dial() as gauge:

        def make() -> Alert:
            rule = gauge.rule(severity="critical", runbook="disk-full")
            cluster = a_cluster()
            gauge.values[cluster.pk] = 11
            evaluate()
            return Alert.objects.get(rule=rule, cluster=cluster)

        yield make


def listed(visitor: Visitor, alert: Alert, state: str = "") -> Any:
    """The list's rows of this alert's rule."""
    assert visitor.go(f"{url('monitoring_alert_changelist')}?q={alert.rule.slug}{state}").status == 200
    return visitor.page.locator("#result_list tbody tr", has_text=alert.summary)


def test_an_alert_is_found_in_the_list_and_acknowledged(visit: Any, fires: Any) -> None:  # noqa: F811
    alert, visitor = fires(), visit("operator")
    page, row = visitor.page, listed(visitor, alert)
    assert row.count() == 1
    assert "firing" in row.text_content()
    assert row.locator("text=disk-full").get_attribute("href").endswith("/admin/runbooks/disk-full")
    row.locator(f"text={alert.summary}").click()
    page.wait_for_url(f"**{url('monitoring_alert_change', alert.pk)}**")  # with the list's filters, to go back to
    assert not unnamed_fields(page)
    page.fill("#note", "the disk is <b>ordered</b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Acknowledged.")
    assert "the disk is <b>ordered</b>" in page.text_content("section[aria-labelledby=alert] dl")
    assert page.locator("#note").count() == 0, "who looks after it is known: nobody is asked again"
    event = events("alert.acknowledge", target_id=str(alert.pk)).get()
    assert page.locator("section[aria-labelledby=history] tr", has_text=event.actor_label).count() == 1
    assert "acknowledged" in listed(visitor, alert).text_content()
    assert not visitor.errors
    assert not visitor.strangers


def test_an_alert_is_silenced_and_no_longer(visit: Any, fires: Any) -> None:  # noqa: F811
    alert, visitor = fires(), visit("operator")
    visitor.go(url("monitoring_alert_change", alert.pk))
    visitor.page.click("text=Silence 4h")
    visitor.page.wait_for_selector("text=Silenced until")
    assert "silenced" in listed(visitor, alert).text_content()
    visitor.go(url("monitoring_alert_change", alert.pk))
    visitor.page.click("text=End the silence")
    visitor.page.wait_for_selector("text=End the silence", state="detached")
    row = listed(visitor, alert).text_content()
    assert "silenced" not in row
    assert "firing" in row
    assert not visitor.errors


def test_a_board_leads_back_to_itself_after_acknowledging(visit: Any, fires: Any) -> None:  # noqa: F811
    alert, visitor = fires(), visit("operator")
    page, board = visitor.page, url("board_cluster", alert.cluster_id)
    visitor.go(board)
    assert alert.summary in page.text_content(f"#board-alert-{alert.pk}")
    page.focus(f"#board-acknowledge-{alert.pk}")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=You look after it")
    assert page.url == visitor.base + board
    alert.refresh_from_db()
    assert alert.state == Alert.State.ACKNOWLEDGED
    assert page.locator(f"#board-acknowledge-{alert.pk}").count() == 0
    assert alert.acknowledged_by in page.locator("tr", has=page.locator(f"#board-alert-{alert.pk}")).text_content()
    assert not visitor.errors
    assert not visitor.strangers


def test_a_viewer_sees_alerts_and_has_no_button(visit: Any, fires: Any) -> None:  # noqa: F811
    alert, visitor = fires(), visit("viewer")
    assert listed(visitor, alert).count() == 1
    for path in (url("monitoring_alert_change", alert.pk), url("board_cluster", alert.cluster_id)):
        visitor.go(path)
        assert alert.summary in visitor.page.text_content("#content")
        assert visitor.page.locator("button", has_text="Acknowledge").count() == 0
        assert visitor.page.locator("button", has_text="Silence").count() == 0
    assert not visitor.errors


@pytest.fixture
def size_rule(tenant: Any) -> Iterator[Any]:  # noqa: F811
    """A rule of this tenant's size, above anything it has; the size was measured."""
    measure(tenant.cluster, [tenant.pk])
    changes = {
        "name": "Too big", "scope": "tenant", "metric": "size_bytes", "comparison": ">", "threshold": 1e15,
        "severity": "info", "summary": "{subject} has {value}", "tenant": tenant,
    }  # fmt: skip
    yield rules.create_rule(slug=fresh_slug("size"), changes=changes, actor=ACTOR, source=SOURCE)
    ProbeState.objects.filter(cluster=tenant.cluster).delete()


def test_a_rule_is_tried_before_it_is_saved(visit: Any, tenant: Any, size_rule: Any) -> None:  # noqa: F811
    visitor = visit("administrator")
    page, edit = visitor.page, url("monitoring_alertrule_edit", size_rule.pk)

    def answer(threshold: str, preview: bool) -> None:
        page.fill("#id_threshold", threshold)
        page.set_checked("#id_preview", preview)
        page.click("#page-form button[type=submit]")

    visitor.go(edit)
    assert not unnamed_fields(page)
    answer("1024", True)
    preview = page.locator("section[aria-label=Preview]")
    preview.wait_for()
    assert "Would fire now for: 1" in preview.text_content()
    assert preview.locator("li").text_content().startswith(f"{tenant.slug}: ")
    assert page.input_value("#id_threshold") == "1024", "what one tries stays in the form"
    size_rule.refresh_from_db()
    assert size_rule.threshold == 1e15, "a preview saves nothing"
    answer("1e14", True)
    page.wait_for_selector("text=Would fire now for: 0")
    answer("2e15", False)
    page.wait_for_url(f"**{url('monitoring_alertrule_change', size_rule.pk)}")
    size_rule.refresh_from_db()
    assert size_rule.threshold == 2e15
    assert not visitor.errors
    assert not visitor.strangers
