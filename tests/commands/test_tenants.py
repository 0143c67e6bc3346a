"""A tenant's life by commands, seen from its own login."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from provisioning.services import Connection
from tenants.models import AuditEvent, Tenant
from tests.commands.support import call, manage, refusal, text
from tests.provisioning.support import can_log_in, leftovers, warm
from tests.support.fixtures import fresh_slug


def connection(document: dict[str, Any]) -> Connection:
    """The credentials in a command's answer."""
    return Connection(**{name: value for name, value in document["connection"].items() if name != "dsn"})


def state(slug: str) -> str:
    return Tenant.objects.get(slug=slug).state


def test_create_tenant_gives_a_login_that_works_and_says_who_did_it(shop: dict[str, Any]) -> None:
    with psycopg.connect(shop["connection"]["dsn"]) as session:
        assert session.execute("SELECT current_schema").fetchone() == (shop["schema_name"],)
        session.execute("INSERT INTO customers (name) VALUES ('Ada')")
    assert shop["operation"]["state"] == "succeeded"
    event = AuditEvent.objects.get(tenant_id=shop["id"], action="tenant.create")
    assert (event.actor_kind, event.channel) == ("command", "command")
    assert event.actor_label == shop["operation"]["actor"]["label"]
    assert event.actor_id == event.actor_label.partition("@")[0] != ""
    assert event.request_id == shop["operation"]["request_id"] != ""


def test_create_tenant_takes_name_plan_labels_and_limits(template: Any, cluster: Any, plan: Any) -> None:
    warm(cluster, template)
    slug = fresh_slug()
    made = call(
        "create_tenant", slug, "--name", "Übersee [bold]& Co", "--plan", plan.slug, "--cluster", cluster.name,
        "--label", "region=eu", "--label", "note=a=b", "--limit", "connection_limit=77",
    )  # fmt: skip
    assert (made["name"], made["plan"]) == ("Übersee [bold]& Co", plan.slug)
    assert (made["labels"], made["limits"]) == ({"region": "eu", "note": "a=b"}, {"connection_limit": 77})
    assert "Übersee [bold]& Co" in text("list_tenants", "--search", slug)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["Not A Slug"], 2),
        (["admin"], 2),
        (["good-slug", "--plan", "none-such"], 2),
        (["good-slug", "--template", "none-such"], 2),
        (["good-slug", "--limit", "connection_limit=1"], 2),
        (["good-slug", "--name", "\u202eevil"], 2),
    ],
)
def test_create_tenant_refuses_what_is_wrong(template: Any, arguments: list[str], code: int) -> None:
    count = Tenant.objects.count()
    assert refusal("create_tenant", *arguments)[0] == code
    assert Tenant.objects.count() == count


def test_a_slug_is_taken_once(shop: dict[str, Any]) -> None:
    code, error = refusal("create_tenant", shop["slug"])
    assert (code, error.code) == (3, "slug_taken")


def test_the_password_is_printed_once_and_never_logged(template: Any, cluster: Any) -> None:
    warm(cluster, template)
    slug = fresh_slug()
    ran = manage("create_tenant", slug, "--json", "--verbosity", "3", LOG_LEVEL="DEBUG")
    assert ran.code == 0, ran.err
    password = ran.document["connection"]["password"]
    assert can_log_in(connection(ran.document))
    assert password not in ran.err
    for again in (text("show_tenant", slug), call("show_tenant", slug), call("list_tenants", "--search", slug)):
        assert slug in str(again)
        assert password not in str(again)
    audit = AuditEvent.objects.filter(tenant_id=ran.document["id"])
    assert audit.exists()
    assert not any(password in str((event.before, event.after)) for event in audit)


def test_show_dsn_only_prints_a_url_that_psql_takes(template: Any, cluster: Any) -> None:
    warm(cluster, template)
    ran = manage("create_tenant", fresh_slug(), "--show-dsn-only")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == 1
    with psycopg.connect(ran.out.strip()) as session:
        assert session.execute("SELECT name FROM customers").fetchall() == [("House",)]


def test_suspend_tenant_and_resume_tenant(shop: dict[str, Any]) -> None:
    suspended = call("suspend_tenant", shop["slug"], "--reason", "unpaid")
    assert (suspended["state"], suspended["state_reason"]) == ("suspended", "unpaid")
    assert not can_log_in(connection(shop))
    assert refusal("suspend_tenant", shop["slug"])[0] == 3
    assert call("resume_tenant", shop["id"])["state"] == "active"
    assert can_log_in(connection(shop))
    assert refusal("resume_tenant", shop["slug"])[0] == 3


def test_delete_tenant_and_undelete_tenant(shop: dict[str, Any]) -> None:
    slug = shop["slug"]
    assert "brought back until" in text(
        "delete_tenant", slug, "--confirm", slug, "--reason", "over", "--grace-days", "3"
    )
    assert state(slug) == "deleted"
    assert not can_log_in(connection(shop))
    assert call("undelete_tenant", slug)["state"] == "active"
    assert can_log_in(connection(shop))
    assert refusal("undelete_tenant", slug)[0] == 3


@pytest.mark.parametrize("command", ["delete_tenant", "purge_tenant"])
def test_destruction_needs_the_slug_and_a_reason(shop: dict[str, Any], command: str) -> None:
    slug = shop["slug"]
    for arguments, field in (
        ([], "confirm"),
        (["--reason", "x"], "confirm"),
        (["--confirm", "other", "--reason", "x"], "confirm"),
        (["--confirm", slug], "reason"),
        (["--confirm", slug, "--reason", "  "], "reason"),
    ):
        code, error = refusal(command, slug, *arguments)
        assert (code, error.field) == (2, field)  # type: ignore[attr-defined]
    assert state(slug) == "active"
    assert can_log_in(connection(shop))


def test_purge_tenant_leaves_nothing(shop: dict[str, Any], cluster: Any) -> None:
    slug, why = shop["slug"], ["--confirm", shop["slug"], "--reason", "erasure request"]
    assert refusal("purge_tenant", slug, *why)[0] == 3
    assert state(slug) == "active"
    call("delete_tenant", slug, *why)
    code, error = refusal("purge_tenant", slug, *why)
    assert (code, error.code) == (3, "grace_period")
    gone = call("purge_tenant", slug, *why, "--force", "--here")
    assert (gone["state"], gone["operation"]["state"]) == ("purged", "succeeded")
    assert leftovers(cluster, shop["schema_name"]) == []
    assert refusal("resume_tenant", slug)[0] == 3


def test_rotate_credentials_overlaps(shop: dict[str, Any]) -> None:
    new = call("rotate_credentials", shop["slug"], "--reason", "quarterly")
    assert new["connection"]["user"] != shop["connection"]["user"]
    assert can_log_in(connection(shop))
    assert can_log_in(connection(new))
    code, error = refusal("rotate_credentials", shop["slug"])
    assert (code, error.code) == (3, "overlap_running")
    newest = text("rotate_credentials", shop["slug"], "--overlap", "0", "--show-dsn-only").strip()
    psycopg.connect(newest).close()
    assert not can_log_in(connection(new))


def test_update_tenant_reaches_the_login_and_keeps_what_is_not_named(shop: dict[str, Any]) -> None:
    slug = shop["slug"]
    call("update_tenant", slug, "--limit", "connection_limit=66", "--limit", "lock_timeout_ms=1234", "--label", "a=1")
    changed = call("update_tenant", slug, "--remove-limit", "lock_timeout_ms", "--label", "b=2", "--name", "New")
    assert (changed["name"], changed["labels"], changed["limits"]) == (
        "New",
        {"a": "1", "b": "2"},
        {"connection_limit": 66},
    )
    with psycopg.connect(shop["connection"]["dsn"]) as session:
        limit = session.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
        assert limit == (66,)


def test_update_tenant_refuses_nothing_stale_versions_and_what_is_not_there(shop: dict[str, Any]) -> None:
    slug = shop["slug"]
    assert refusal("update_tenant", slug)[0] == 2
    assert refusal("update_tenant", slug, "--remove-label", "none")[0] == 2
    code, error = refusal("update_tenant", slug, "--name", "X", "--expected-version", "99")
    assert (code, error.code) == (3, "stale")
    assert Tenant.objects.get(slug=slug).name == slug


def test_list_tenants_filters(shop: dict[str, Any]) -> None:
    label = fresh_slug("mark")
    call("update_tenant", shop["slug"], "--label", f"mark={label}")
    found = call("list_tenants", "--label", f"mark={label}")
    assert (found["count"], [row["id"] for row in found["tenants"]]) == (1, [shop["id"]])
    assert call("list_tenants", "--label", f"mark={label}", "--state", "suspended")["count"] == 0
    assert call("list_tenants", "--label", f"mark={label}", "--plan", shop["plan"])["count"] == 1
    assert call("list_tenants", "--label", f"mark={label}", "--cluster", shop["cluster"])["count"] == 1
    assert call("list_tenants", "--search", shop["slug"].upper())["count"] == 1
    slug = shop["slug"]
    call("purge_tenant", slug, "--confirm", slug, "--reason", "x", "--force", "--here")
    assert call("list_tenants", "--label", f"mark={label}")["count"] == 0
    assert call("list_tenants", "--label", f"mark={label}", "--all")["count"] == 1


def test_show_tenant_by_slug_and_by_id(shop: dict[str, Any]) -> None:
    shown = call("show_tenant", shop["slug"])
    assert shown == call("show_tenant", shop["id"])
    assert shown["connection"] == {name: shop["connection"][name] for name in ("host", "port", "dbname", "user")}
    assert [login["state"] for login in shown["logins"]] == ["active", "off"]
    assert shown["operations"][0]["kind"] == "tenant.provision"
    page = text("show_tenant", shop["slug"])
    assert shop["schema_name"] in page
    assert shop["connection"]["password"] not in page


@pytest.mark.parametrize(
    "command", ["show_tenant", "suspend_tenant", "resume_tenant", "undelete_tenant", "rotate_credentials"]
)
@pytest.mark.parametrize("name", ["no-such-tenant", "00000000-0000-0000-0000-000000000000", "'; --", "\0", ""])
def test_who_is_not_there_is_not_found(template: Any, command: str, name: str) -> None:
    assert refusal(command, name)[0] == 4
