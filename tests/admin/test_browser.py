"""The admin in a real browser: no request leaves the server, nothing breaks, live parts live."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from playwright import sync_api as playwright

from tests.admin.browser import Visitor
from tests.admin.support import events, tenant_url, url
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


def pages(tenant: Any, template: Any) -> list[str]:
    from provisioning.models import SchemaSlot
    from tenants.api_keys import create_api_key
    from tenants.models import AuditEvent

    key, _ = create_api_key(name="tests", scopes=["tenants:read"], actor=ACTOR, source=SOURCE)
    lists = [
        "tenants_tenant", "tenants_operation", "tenants_cluster", "tenants_plan", "tenants_auditevent",
        "tenants_apikey", "provisioning_template", "provisioning_templateversion", "provisioning_schemaslot",
        "auth_user", "auth_group", "django_celery_beat_periodictask", "django_celery_beat_intervalschedule",
        "django_celery_beat_crontabschedule", "monitoring_alert", "monitoring_alertrule",
        "monitoring_notificationchannel",
    ]  # fmt: skip
    forms = ["tenants_tenant", "tenants_cluster", "tenants_plan", "tenants_apikey", "auth_user", "auth_group",
             "django_celery_beat_periodictask", "monitoring_alertrule", "monitoring_notificationchannel"]  # fmt: skip
    one_of_each = {
        "tenants_operation": tenant.operations.get().pk,
        "tenants_cluster": tenant.cluster_id,
        "tenants_plan": tenant.plan_id,
        "tenants_auditevent": AuditEvent.objects.filter(tenant_id=tenant.pk).values_list("pk", flat=True)[0],
        "tenants_apikey": key.pk,
        "provisioning_template": template.template_id,
        "provisioning_templateversion": template.pk,
        "provisioning_schemaslot": SchemaSlot.objects.get(tenant=tenant).pk,
    }
    return [
        url("index"),
        url("password_change"),
        url("security"),
        url("second_factor"),
        url("runbooks"),
        url("runbook", "disk-full"),
        url("board_tenant", tenant.pk),
        url("board_cluster", tenant.cluster_id),
        url("door_signinpolicy_changelist"),
        url("door_signinpolicy_add"),
        *(url(f"{name}_changelist") for name in lists),
        f"{url('tenants_tenant_changelist')}?q=nothing-like-this",
        *(url(f"{name}_add") for name in forms),
        *(url(f"{name}_change", pk) for name, pk in one_of_each.items()),
        *(tenant_url(tenant, act) for act in ("change", "edit", "suspend", "rotate", "remove")),
        url("tenants_cluster_edit", tenant.cluster_id),
        url("tenants_plan_edit", tenant.plan_id),
        url("tenants_apikey_revoke", key.pk),
    ]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_page_asks_another_host_or_fails(
    visit: Callable[..., Visitor], tenant: Any, template: Any, colours: str
) -> None:
    visitor = visit("administrator", color_scheme=colours)
    seen = pages(tenant, template)
    for path in seen if colours == "light" else seen[:3]:
        assert visitor.go(path).status == 200, path
        if not any(part in path for part in NOT_OURS):
            assert not unnamed_fields(visitor.page), path
    assert not visitor.strangers
    assert not visitor.errors


# Forms that Django and beat render; what they label is theirs.
NOT_OURS = ("/auth/", "/door/", "/django_celery_beat/", "password_change")


def unnamed_fields(page: Any) -> list[str]:
    """Visible fields that a screen reader would have no name for."""
    fields = page.locator("#content :is(input:not([type=hidden]), select, textarea):visible")
    named = "e.labels.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.placeholder"
    return list(fields.evaluate_all(f"all => all.filter(e => !({named})).map(e => e.outerHTML.slice(0, 200))"))


def test_provisioning_in_the_browser_gives_a_connection_that_works(
    visit: Callable[..., Visitor], cluster: Any, template: Any, plan: Any
) -> None:
    from provisioning import pool

    pool.fill_one(cluster, template, 10_000)
    visitor, slug = visit("operator"), fresh_slug()
    visitor.go(url("tenants_tenant_add"))
    page = visitor.page
    # The keyboard is enough: the first field has the focus.
    page.wait_for_function("document.activeElement.id === 'id_name'")
    page.keyboard.type("Alpha Trading")
    page.keyboard.press("Tab")
    page.keyboard.type(slug)
    page.keyboard.press("Enter")
    dsn = page.input_value("#dsn")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (1,)
    password = page.input_value("#password")
    assert password in dsn
    assert password not in page.url
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy=password]")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == password
    page.click("text=I have copied it")
    page.wait_for_url(re.compile(r"/change/$"))
    stored = page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie")
    assert password not in stored
    assert not visitor.strangers
    # The page before must not come back from any cache.
    with pytest.raises(playwright.Error, match="ERR_CACHE_MISS"):
        page.go_back()


def test_a_cold_start_is_watched_until_it_is_done(
    visit: Callable[..., Visitor], template: Any, plan: Any, celery_worker_process: Any
) -> None:
    from provisioning.models import SchemaSlot

    SchemaSlot.objects.filter(state="ready").update(state="retiring")
    visitor, slug = visit("operator"), fresh_slug()
    visitor.go(url("tenants_tenant_add"))
    page = visitor.page
    page.fill("#id_name", "Cold Start")
    page.fill("#id_slug", slug)
    page.click("text=Provision the tenant")
    page.wait_for_url(re.compile(r"/operation/"))
    page.wait_for_selector("text=Collect the credentials", timeout=60_000)
    assert page.locator("#operation-progress").get_attribute("hx-get") is None, "polling must stop when it is over"
    polls: list[str] = []
    page.on("request", lambda request: "/progress/" in request.url and polls.append(request.url))
    page.wait_for_timeout(2_500)
    assert not polls
    page.click("text=Collect the credentials")
    with psycopg.connect(page.input_value("#dsn")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert events("credentials.reveal", tenant_slug=slug).count() == 1
    assert not visitor.errors


def test_a_tenants_page_reloads_when_what_runs_is_over(visit: Callable[..., Visitor], template: Any, plan: Any) -> None:
    from provisioning import services
    from tenants import operations

    made = services.provision_tenant(name="Slow", slug=fresh_slug(), respond_async=True, actor=ACTOR, source=SOURCE)
    visitor = visit("operator")
    visitor.go(tenant_url(made.tenant))
    page = visitor.page
    assert page.is_visible("text=It waits for a worker")
    assert not page.is_visible("text=Rotate credentials")
    operations.work(made.operation.pk)
    page.wait_for_selector("text=Rotate credentials", timeout=20_000)
    assert not visitor.errors


def test_the_fleet_refreshes_itself_and_keeps_the_focus(visit: Callable[..., Visitor], tenant: Any) -> None:
    visitor = visit("viewer")
    page = visitor.page
    taken = page.text_content(".cp-taken time")
    page.focus("#fleet-tenants-all")
    page.wait_for_function(f"document.querySelector('.cp-taken time').textContent !== {taken!r}", timeout=20_000)
    assert page.evaluate("document.activeElement.id") == "fleet-tenants-all"
    assert not visitor.errors
    assert not visitor.strangers


def test_the_documentation_page_works_without_anything_inline(visit: Callable[..., Visitor]) -> None:
    visitor = visit("viewer")
    visitor.go("/api/v1/docs")
    visitor.page.wait_for_selector(".opblock", timeout=20_000)
    assert not visitor.strangers
    assert not visitor.errors


def test_what_somebody_got_into_a_page_does_not_run(visit: Callable[..., Visitor]) -> None:
    """The other tests find no violation; this one shows that they would: what is injected is refused."""
    visitor = visit("viewer")
    visitor.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = 1";
            document.body.append(script);
            const markup = "<img src=x: onerror='window.injected = 2'><style>*{}</style>";
            document.body.insertAdjacentHTML("beforeend", markup);
        }"""
    )
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate("window.injected") is None
    assert len([text for text in visitor.errors if "Content Security Policy" in text]) >= 3


def test_a_second_factor_from_the_picture_to_the_code(visit: Callable[..., Visitor]) -> None:
    import pyotp

    visitor = visit("operator")
    page = visitor.page
    visitor.go(url("second_factor"))
    assert page.locator(".cp-qr svg").bounding_box()["width"] > 150
    app = pyotp.TOTP(page.text_content("#factor-secret").replace(" ", ""))
    page.fill("#id_code", app.now())
    page.click("text=Set it up")
    code = page.text_content(".cp-codes code")
    assert len(code) == 19
    visitor.go(url("security"))
    page.click("text=Sign out everywhere >> nth=-1")
    page.wait_for_selector("#login-form")
    assert not visitor.errors
