"""Charts in a real browser: what is drawn is what the server says, for eyes, keyboards and screen readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from monitoring.models import ProbeState, TenantActivity
from tenants.models import Cluster
from tests.admin.browser import Visitor
from tests.admin.measured import grow, measure
from tests.admin.support import url

LOADED = "document.querySelector('[data-charts]')?.dataset.loaded >= {}"


@pytest.fixture
def measured(tenant: Any) -> Any:
    """A real tenant with an hour of samples."""
    at = measure(tenant.cluster, [tenant.pk])
    grow(tenant.cluster, [tenant.pk])
    tenant.measured_at = at
    yield tenant
    ProbeState.objects.filter(cluster=tenant.cluster).delete()


def open_board(visitor: Visitor, path: str, times: int = 1) -> dict[str, Any]:
    """Go there and wait for the charts; their JSON as the page got it."""
    visitor.page.wait_for_function(LOADED.format(1))  # signing in led to the fleet: its charts are not meant
    with visitor.page.expect_response(lambda response: "/charts/" in response.url) as answer:
        assert visitor.go(path).status == 200
    visitor.page.wait_for_function(LOADED.format(times))
    found: dict[str, Any] = json.loads(answer.value.body())["charts"]
    return found


def table_of(page: Any, plot: str) -> list[list[Any]]:
    """The table behind a chart: heads, then each row with the plain values."""
    page.locator(f"#plot-{plot} summary").click()
    return list(
        page.locator(f"#plot-{plot} table").evaluate(
            """table => [[...table.tHead.rows[0].cells].map(cell => cell.textContent),
                ...[...table.tBodies[0].rows].map(row => [...row.cells].map((cell, n) => n === 0 ? cell.textContent
                    : cell.dataset.value === undefined ? null : Number(cell.dataset.value)))]"""
        )
    )


@pytest.mark.parametrize("plot", ["connections", "size", "query_time"])
def test_behind_a_chart_is_a_table_with_the_same_figures(
    visit: Callable[..., Visitor], measured: Any, plot: str
) -> None:
    visitor = visit("viewer")
    chart = open_board(visitor, url("board_tenant", measured.pk))[plot]
    told = f"#plot-{plot} tbody tr"
    assert visitor.page.locator(told).count() == chart["count"], "it is there before anybody opens it"
    assert not visitor.page.locator(told).first.is_visible()
    head, *rows = table_of(visitor.page, plot)
    assert head == ["UTC", *(line["name"] for line in chart["lines"])]
    assert len(rows) == chart["count"]
    for n, line in enumerate(chart["lines"], 1):
        assert [row[n] for row in rows] == line["values"]
    assert any(value is not None for value in rows[-1][1:])
    assert visitor.page.locator(told).first.is_visible()
    assert "no data" in visitor.page.locator(told).first.text_content()
    assert not visitor.errors
    assert not visitor.strangers


def drawn(page: Any, plot: str) -> list[Any]:
    """What the chart's library has in hand: points of each line."""
    return list(
        page.evaluate(
            """id => Chart.getChart(document.querySelector(`#plot-${id} canvas`)).data.datasets.map(
                set => set.data.map(point => point === null || typeof point === 'number' ? point : point.y))""",
            plot,
        )
    )


def test_the_fleets_charts_are_drawn_and_marked(visit: Callable[..., Visitor], measured: Any) -> None:
    visitor = visit("viewer")
    charts = open_board(visitor, url("index"))
    page = visitor.page
    for plot, chart in charts.items():
        assert drawn(page, plot) == [line["values"] for line in chart["lines"]], plot
        label = page.get_attribute(f"#plot-{plot} canvas", "aria-label")
        assert label.startswith(page.text_content(f"#plot-{plot} h3") + ", last 24 h: ")
        assert page.get_attribute(f"#plot-{plot} canvas", "role") == "img"
    marks = page.evaluate(
        "Chart.getChart(document.querySelector('#plot-creation canvas')).options.plugins.marks.shown.map(m => m.label)"
    )
    assert marks == ["8 s: warning", "10 s: critical"]
    head, *rows = table_of(page, "creation")
    assert head == ["Time taken", "warm", "cold"]
    assert [row[0] for row in rows] == charts["creation"]["labels"]
    page.click(".cp-spans a[href^='?span=7d']")
    page.wait_for_url("**span=7d**")
    page.wait_for_function(LOADED.format(1))
    assert page.get_attribute(".cp-spans a[aria-current]", "href") == "?span=7d#charts-title"
    assert "last 7 d" in page.get_attribute("#plot-storage canvas", "aria-label")
    assert not visitor.errors
    assert not visitor.strangers


def test_the_keyboard_reads_single_points(visit: Callable[..., Visitor], measured: Any) -> None:
    visitor = visit("viewer")
    chart = open_board(visitor, url("board_tenant", measured.pk))["connections"]
    page = visitor.page
    page.focus(".cp-spans a >> nth=-1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('figure').id") == "plot-size"
    page.focus("#plot-connections canvas")
    page.keyboard.press("End")
    readout = page.text_content("#plot-connections-readout")
    newest = chart["lines"][0]["values"][-1]
    if newest is None:
        assert "sessions no data" in readout
    page.keyboard.press("ArrowLeft")
    previous = page.text_content("#plot-connections-readout")
    assert previous != readout
    assert previous.count("sessions") == 1
    assert page.get_attribute("#plot-connections-readout", "aria-live") == "polite"
    page.keyboard.press("Home")
    assert "sessions no data" in page.text_content("#plot-connections-readout")
    page.keyboard.press("Escape")
    assert page.text_content("#plot-connections-readout") == ""
    page.focus("#plot-connections summary")
    page.keyboard.press("Enter")
    assert page.locator("#plot-connections tbody tr").count() == chart["count"]
    assert not visitor.errors


def test_charts_follow_the_colours_of_the_page(visit: Callable[..., Visitor], measured: Any) -> None:
    visitor = visit("viewer", color_scheme="dark")
    open_board(visitor, url("board_tenant", measured.pk))
    page = visitor.page
    colour = (
        "() => { const c = Chart.getChart(document.querySelector('#plot-size canvas'));"
        " return [c.data.datasets[0].borderColor, c.options.scales.x.ticks.color]; }"
    )
    wanted = (
        "() => ['--cp-series-1', '--cp-quiet'].map("
        "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim())"
    )
    dark = page.evaluate(colour)
    assert "dark" in page.get_attribute("html", "class")
    assert dark == page.evaluate(wanted)
    page.evaluate("document.documentElement.classList.remove('dark')")
    page.wait_for_function(f"JSON.stringify(({colour})()) === JSON.stringify(({wanted})())")
    assert page.evaluate(colour) != dark
    assert not visitor.errors


def test_charts_bring_themselves_up_to_date_but_not_while_nobody_looks(
    visit: Callable[..., Visitor], measured: Any
) -> None:
    visitor = visit("viewer")
    page = visitor.page
    # A minute is too long for a test: the page's own clock is wound on.
    page.clock.install()
    open_board(visitor, url("board_tenant", measured.pk))
    before = drawn(page, "connections")[0]
    page.evaluate("window.kept = document.querySelector('#plot-connections tbody').rows[3]")
    TenantActivity.objects.filter(tenant_id=measured.pk).update(connections=17)
    page.clock.fast_forward(31_000)
    page.wait_for_function(LOADED.format(2))
    assert drawn(page, "connections")[0] != before
    assert 17 in drawn(page, "connections")[0]
    assert [row[1] for row in table_of(page, "connections")[1:]] == drawn(page, "connections")[0]
    assert page.evaluate("window.kept.isConnected"), "who reads in the table stays at its place"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});"
        " window.away = true; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.clock.fast_forward(120_000)
    page.wait_for_timeout(300)
    assert not asked, "a hidden tab asks for nothing"
    page.evaluate("() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    page.wait_for_function(LOADED.format(3))
    assert any("/charts/" in address for address in asked)
    page.wait_for_function("() => true")
    assert any("/figures/" in address for address in asked)
    assert not visitor.errors


def test_figures_grow_old_on_a_page_that_stays_open(visit: Callable[..., Visitor], measured: Any) -> None:
    visitor = visit("viewer")
    page = visitor.page
    page.clock.install()
    open_board(visitor, url("board_tenant", measured.pk))
    shown = "#plot-connections [data-taken]"
    assert page.text_content(shown).endswith("ago")
    page.route("**/charts/**", lambda route: route.abort())
    page.clock.fast_forward(20 * 60_000)
    page.wait_for_selector(f"{shown}.cp-stale")
    assert page.text_content(shown) == f"no data since {measured.measured_at:%Y-%m-%d %H:%M} UTC"
    page.wait_for_selector("[data-status].cp-stale")
    assert page.text_content("[data-status]").startswith("Not updated: ")


def test_a_tenants_page_shows_its_lines_and_leads_to_the_charts(visit: Callable[..., Visitor], measured: Any) -> None:
    visitor = visit("viewer")
    visitor.go(url("tenants_tenant_change", measured.pk))
    page = visitor.page
    page.wait_for_selector(".cp-sparkline")
    # By the time of day an hour's figures are one point of a line, or several: a dot or a path, which may be flat.
    assert page.locator(".cp-sparkline:has(path, circle)").count() == page.locator(".cp-sparkline").count() == 3
    for said in page.locator(".cp-sparkline").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"):
        assert "lowest" in said
    page.click("text=Charts and figures")
    page.wait_for_function(LOADED.format(1))
    visitor.go(url("tenants_cluster_change", measured.cluster_id))
    page.wait_for_selector("#cluster-monitoring-figures dl")
    page.click("text=Charts, probes and tenants")
    page.wait_for_function(LOADED.format(1))
    assert page.locator("#cluster-probes").is_visible()
    assert not visitor.errors
    assert not visitor.strangers


def test_a_cluster_without_any_sample_says_so(visit: Callable[..., Visitor]) -> None:
    from tests.support.fixtures import fresh_slug

    cluster = Cluster.objects.create(name=fresh_slug("unseen"), host="127.0.0.1", dbname="x", state="disabled")
    visitor = visit("viewer")
    open_board(visitor, url("board_cluster", cluster.pk))
    assert visitor.page.locator("[data-empty]:visible").count() == 8
    assert visitor.page.text_content("#plot-wal [data-taken]") == "no data"
    assert not visitor.errors
    cluster.delete()
