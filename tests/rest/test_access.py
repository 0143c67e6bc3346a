"""Who may do what; who may not is told so, and it is written down."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from tenants.api_keys import revoke_api_key
from tenants.models import ApiKey, AuditEvent
from tenants.models.access import Scope
from tests.rest.support import new_tenant, problem
from tests.support.api import ApiClient

ANY = UUID(int=0x5EED)  # in test ids: the same in each process
# Each method of each path with the scopes any one of which opens it.
DOORS = [
    ("GET", "tenants", {"tenants:read"}),
    ("POST", "tenants", {"tenants:write"}),
    ("GET", f"tenants/{ANY}", {"tenants:read"}),
    ("PATCH", f"tenants/{ANY}", {"tenants:write"}),
    ("DELETE", f"tenants/{ANY}", {"tenants:write"}),
    ("GET", f"tenants/{ANY}/health", {"tenants:read"}),
    ("POST", f"tenants/{ANY}/suspend", {"tenants:write"}),
    ("POST", f"tenants/{ANY}/resume", {"tenants:write"}),
    ("POST", f"tenants/{ANY}/undelete", {"tenants:write"}),
    ("POST", f"tenants/{ANY}/purge", {"tenants:write"}),
    ("POST", f"tenants/{ANY}/rotate-credentials", {"credentials:rotate"}),
    ("POST", f"tenants/{ANY}/reveal-credentials", {"credentials:reveal"}),
    ("GET", f"tenants/{ANY}/credentials", {"tenants:read"}),
    ("POST", f"tenants/{ANY}/credentials", {"credentials:write"}),
    ("GET", f"tenants/{ANY}/migrator", {"tenants:read"}),
    ("POST", f"tenants/{ANY}/migrator", {"migrators:write"}),
    ("DELETE", f"tenants/{ANY}/migrator", {"migrators:write"}),
    ("DELETE", f"tenants/{ANY}/credentials/{ANY}", {"credentials:write"}),
    ("POST", f"tenants/{ANY}/backup", {"backups:write"}),
    ("GET", f"tenants/{ANY}/backups", {"backups:read"}),
    ("GET", "backups", {"backups:read"}),
    ("GET", f"backups/{ANY}", {"backups:read"}),
    ("PATCH", f"backups/{ANY}", {"backups:write"}),
    ("POST", f"backups/{ANY}/verify", {"backups:write"}),
    ("POST", f"backups/{ANY}/restore", {"backups:restore"}),
    ("POST", f"backups/{ANY}/drill", {"backups:write"}),
    ("GET", f"tenants/{ANY}/recovery", {"backups:read"}),
    ("GET", f"tenants/{ANY}/kept-schemas", {"backups:read"}),
    ("POST", "kept-schemas/0/confirm", {"backups:restore"}),
    ("POST", "kept-schemas/0/undo", {"backups:restore"}),
    ("POST", f"tenants/{ANY}/restore", {"backups:restore"}),
    ("GET", "operations", {"operations:read"}),
    ("GET", f"operations/{ANY}", {"operations:read", "tenants:write"}),
    ("POST", f"operations/{ANY}/cancel", {"operations:write"}),
    ("POST", f"operations/{ANY}/retry", {"operations:write"}),
    ("POST", f"operations/{ANY}/credentials", {"credentials:rotate", "tenants:write"}),
    ("GET", "purge-requests", {"tenants:read"}),
    ("GET", f"purge-requests/{ANY}", {"tenants:read"}),
    ("POST", f"purge-requests/{ANY}/approve", {"purges:approve"}),
    ("POST", f"purge-requests/{ANY}/reject", {"purges:approve"}),
    ("GET", "audit-events", {"audit:read"}),
    ("GET", "audit-events/1", {"audit:read"}),
    ("GET", "audit-events/export", {"audit:read"}),
    ("GET", "audit-log", {"audit:read"}),
    ("GET", "clusters", {"clusters:read"}),
    ("GET", "clusters/0", {"clusters:read"}),
    ("GET", "isolation-findings", {"clusters:read"}),
    ("GET", "isolation-attempts", {"clusters:read"}),
    ("GET", "alerts", {"alerts:read"}),
    ("GET", "alerts/0", {"alerts:read"}),
    ("POST", "alerts/0/acknowledge", {"alerts:write"}),
    ("POST", "alerts/0/silence", {"alerts:write"}),
    ("GET", "alert-rules", {"alerts:read"}),
    ("GET", "alert-rules/0", {"alerts:read"}),
    ("PATCH", "alert-rules/0", {"alerts:write"}),
    ("POST", "alert-rules/0/silence", {"alerts:write"}),
    ("GET", "notification-channels", {"alerts:read"}),
    ("POST", "notification-channels/0/test", {"alerts:write"}),
    ("GET", "plans", {"plans:read"}),
    ("GET", "templates", {"templates:read"}),
]


def some_ip() -> str:
    """An address of which nothing has been counted yet."""
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


def test_this_table_knows_every_door():
    from django.urls import get_resolver

    from tenants.rest.views import ApiView

    doors = set()
    for include in get_resolver().url_patterns:
        for pattern in getattr(include, "url_patterns", []):
            view = getattr(pattern.callback, "cls", None)
            if view is not None and issubclass(view, ApiView):
                route = str(pattern.pattern).replace("<uuid:pk>", str(ANY)).replace("<uuid:credential_pk>", str(ANY))
                route = route.replace("<int:pk>/", "0/")
                doors |= {(method, route.split("<")[0].rstrip("/")) for method in view.required_scopes}
    assert doors == {(method, path.removesuffix("/1").removesuffix("/0")) for method, path, _ in DOORS}


@pytest.mark.parametrize(("method", "path", "scopes"), DOORS)
def test_one_scope_opens_and_all_others_do_not(api_client, plan, method, path, scopes):
    for scope in sorted(scopes):
        assert api_client(scope).request(method, path).status_code not in (401, 403), scope
    others = api_client(*(set(Scope.values) - scopes))
    answer = problem(others.request(method, path), 403, "insufficient_scope")
    assert sorted(scopes)[0] in answer["detail"]
    problem(ApiClient().request(method, path), 401, "not_authenticated")


def test_refusals_are_written_down_with_who_what_and_where_from(api_client):
    client = api_client("plans:read")
    answer = client.get("tenants")
    event = AuditEvent.objects.get(request_id=answer["X-Request-ID"])
    assert (event.action, event.outcome, event.channel, event.ip) == ("access.denied", "denied", "rest", "127.0.0.1")
    assert (event.actor_kind, event.actor_id) == ("api_key", str(client.row.pk))
    assert event.after == {"code": "insufficient_scope", "method": "GET", "path": "/api/v1/tenants"}


@pytest.mark.parametrize(
    "header",
    [
        "Api-Key cp_0123456789_" + "a" * 43,
        "Api-Key ",
        "Api-Key",
        "Api-Key cp_",
        "Api-Key ' OR 1=1 --",
        "Api-Key \u00fc\u00fc",
        "Bearer cp_0123456789_" + "a" * 43,
        "Basic YTpi",
        "nonsense",
    ],
)
def test_no_valid_key_no_entry_and_a_challenge(header):
    answer = Client(HTTP_AUTHORIZATION=header).get("/api/v1/tenants")
    code = "invalid_api_key" if header.startswith("Api-Key") else "not_authenticated"
    problem(answer, 401, code)
    assert answer["WWW-Authenticate"].startswith("Api-Key")


def test_an_expired_or_revoked_key_opens_nothing(api_client, actor, source):
    expired = api_client("plans:read")
    assert expired.get("plans").status_code == 200
    ApiKey.objects.filter(pk=expired.row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    problem(expired.get("plans"), 401, "invalid_api_key")
    revoked = api_client("plans:read")
    revoke_api_key(api_key=revoked.row, actor=actor, source=source)
    problem(revoked.get("plans"), 401, "invalid_api_key")


def test_failures_of_strangers_are_written_down_but_cannot_flood_the_log(settings):
    ip = some_ip()
    stranger = Client(HTTP_AUTHORIZATION="Api-Key wrong", REMOTE_ADDR=ip)
    for _ in range(30):
        assert stranger.get("/api/v1/tenants").status_code == 401
    events = AuditEvent.objects.filter(ip=ip)
    assert 5 <= events.count() <= 10  # 5 a minute; a minute may have ended meanwhile
    assert {event.actor_kind for event in events} == {"anonymous"}
    assert "wrong" not in str(list(events.values()))


def test_what_was_left_out_is_counted_in_the_next_event(monkeypatch):
    from tenants.rest import denials

    ip = some_ip()
    stranger = Client(REMOTE_ADDR=ip)
    monkeypatch.setattr(denials, "ANONYMOUS_EVENTS_PER_MINUTE", 0)
    for _ in range(7):
        stranger.get("/api/v1/tenants")
    assert not AuditEvent.objects.filter(ip=ip).exists()
    monkeypatch.setattr(denials, "ANONYMOUS_EVENTS_PER_MINUTE", 1000)
    stranger.get("/api/v1/tenants")
    assert AuditEvent.objects.get(ip=ip).after["not_recorded"] == 7


def staff(*permissions: str, is_staff: bool = True, **options) -> Client:
    user = User.objects.create_user(f"u{secrets.token_hex(5)}", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(**options)
    client.force_login(user)
    client.user = user
    return client


def test_a_member_of_staff_reads_what_their_permissions_say():
    viewer = staff("view_tenant")
    assert viewer.get("/api/v1/tenants").status_code == 200
    answer = viewer.get("/api/v1/plans")
    problem(answer, 403, "forbidden")
    event = AuditEvent.objects.get(request_id=answer["X-Request-ID"])
    assert (event.actor_kind, event.actor_label) == ("user", viewer.user.get_username())
    problem(viewer.post(f"/api/v1/tenants/{ANY}/suspend"), 403, "forbidden")


def test_a_member_of_staff_acts_with_the_permission_and_a_csrf_token(api_client, plan, template, cluster):
    made = new_tenant(api_client(), template, cluster)
    operator = staff("suspend_tenant", enforce_csrf_checks=True, REMOTE_ADDR=some_ip())
    path = f"/api/v1/tenants/{made['id']}/suspend"
    answer = operator.post(path, content_type="application/json")
    problem(answer, 403, "csrf_failed")
    assert AuditEvent.objects.filter(request_id=answer["X-Request-ID"], action="access.denied").exists()
    token = "a" * 32
    operator.cookies["csrftoken"] = token
    done = operator.post(path, content_type="application/json", headers={"X-CSRFToken": token})
    assert done.status_code == 200, done.content
    event = AuditEvent.objects.get(action="tenant.suspend", tenant_id=made["id"])
    assert (event.actor_label, event.channel) == (operator.user.get_username(), "rest")


def test_somebody_who_is_not_staff_is_nobody():
    problem(staff("view_tenant", is_staff=False).get("/api/v1/tenants"), 401, "not_authenticated")


def test_a_key_does_not_need_the_session_and_beats_it(api_client):
    client = staff()
    key = api_client("plans:read").key
    assert client.get("/api/v1/plans", headers={"Authorization": f"Api-Key {key}"}).status_code == 200


def test_the_acting_key_and_the_request_id_reach_the_audit_event(api_client, plan, template, cluster):
    client = api_client()
    made = new_tenant(client, template, cluster)
    client.post(f"tenants/{made['id']}/suspend", x_request_id="my-request.0001")
    event = AuditEvent.objects.get(action="tenant.suspend", tenant_id=made["id"])
    assert (event.actor_kind, event.actor_id) == ("api_key", str(client.row.pk))
    assert (event.request_id, event.channel) == ("my-request.0001", "rest")


@pytest.mark.parametrize("given", ["short", "x" * 65, "has space!", "new\nline-and-more", "ünï-cödé-id", ""])
def test_a_request_id_that_is_no_sane_one_is_replaced(api_client, given):
    answer = api_client("plans:read").http.get("/api/v1/plans", HTTP_X_REQUEST_ID=given)
    assert answer["X-Request-ID"] != given
    assert len(answer["X-Request-ID"]) == 36


def test_the_address_in_front_of_the_proxy_counts_only_behind_one(settings):
    from django.test import RequestFactory

    from tenants.rest.context import client_ip

    request = RequestFactory(HTTP_X_FORWARDED_FOR="6.6.6.6, 192.0.2.7", REMOTE_ADDR="127.0.0.1").get("/")
    assert client_ip(request) == "127.0.0.1"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert client_ip(request) == "192.0.2.7"
