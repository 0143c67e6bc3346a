"""What each group may see and do: the pages, the buttons, and the posts behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenants.groups import ADMINISTRATOR, AUDITOR, GROUPS, OPERATOR, VIEWER
from tenants.models import ApiKey, Cluster, Operation, Plan, Tenant
from tests.admin.support import PASSWORD, events, tenant_url, url
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

EVERYONE = {VIEWER, OPERATOR, AUDITOR, ADMINISTRATOR}
OPERATORS = {OPERATOR, ADMINISTRATOR}
AUDITORS = {AUDITOR, ADMINISTRATOR}
ADMINISTRATORS = {ADMINISTRATOR}

LISTS = {
    "index": EVERYONE,
    "fleet": EVERYONE,
    "tenants_tenant_changelist": EVERYONE,
    "tenants_operation_changelist": EVERYONE,
    "tenants_cluster_changelist": EVERYONE,
    "tenants_plan_changelist": EVERYONE,
    "backups_backup_changelist": EVERYONE,
    "backups_backup_overdue": EVERYONE,
    "backups_backuppolicy_changelist": EVERYONE,
    "backups_storage_changelist": EVERYONE,
    "monitoring_alert_changelist": EVERYONE,
    "monitoring_alertrule_changelist": EVERYONE,
    "monitoring_notificationchannel_changelist": EVERYONE,
    "monitoring_notification_changelist": EVERYONE,
    "runbooks": EVERYONE,
    "provisioning_template_changelist": EVERYONE,
    "provisioning_templateversion_changelist": EVERYONE,
    "provisioning_schemaslot_changelist": EVERYONE,
    "provisioning_purgerequest_changelist": EVERYONE,
    "door_signinpolicy_changelist": AUDITORS,
    "tenants_auditevent_changelist": AUDITORS,
    "tenants_auditverification_changelist": AUDITORS,
    "tenants_auditreview_changelist": AUDITORS,
    "tenants_apikey_changelist": AUDITORS,
    "auth_user_changelist": AUDITORS,
    "auth_group_changelist": AUDITORS,
    "django_celery_beat_periodictask_changelist": ADMINISTRATORS,
    "django_celery_beat_intervalschedule_changelist": ADMINISTRATORS,
    "django_celery_beat_crontabschedule_changelist": ADMINISTRATORS,
}
FORMS = {
    "tenants_tenant_add": OPERATORS,
    "tenants_cluster_add": ADMINISTRATORS,
    "tenants_plan_add": ADMINISTRATORS,
    "backups_storage_add": ADMINISTRATORS,
    "backups_backup_add": set(),
    "backups_backuppolicy_add": set(),
    "monitoring_alert_add": set(),
    "monitoring_notification_add": set(),
    "monitoring_alertrule_add": ADMINISTRATORS,
    "monitoring_notificationchannel_add": ADMINISTRATORS,
    "tenants_apikey_add": ADMINISTRATORS,
    "auth_user_add": ADMINISTRATORS,
    "auth_group_add": ADMINISTRATORS,
    "django_celery_beat_periodictask_add": ADMINISTRATORS,
    "door_signinpolicy_add": ADMINISTRATORS,
    "provisioning_purgerequest_add": set(),
    "tenants_operation_add": set(),
    "tenants_auditevent_add": set(),
    "tenants_auditverification_add": set(),
    "tenants_auditverification_now": AUDITORS,
    "tenants_auditreview_add": AUDITORS,
    "provisioning_template_add": set(),
    "provisioning_templateversion_add": set(),
    "provisioning_schemaslot_add": set(),
}
# Act, the state it is offered in, and who may do it.
ACTS = {
    "edit": ("active", OPERATORS),
    "suspend": ("active", OPERATORS),
    "rotate": ("active", OPERATORS),
    "reveal": ("active", ADMINISTRATORS),
    "lend": ("active", ADMINISTRATORS),
    "remove": ("active", OPERATORS),
    "resume": ("suspended", OPERATORS),
    "undelete": ("deleted", OPERATORS),
    "purge": ("deleted", ADMINISTRATORS),
}


@pytest.mark.parametrize("view", [*LISTS, *FORMS])
@pytest.mark.parametrize("group", GROUPS)
def test_pages(browse: Callable[..., Any], template: Any, plan: Any, view: str, group: str) -> None:
    client = browse(group)
    allowed = group in {**LISTS, **FORMS}[view]
    assert client.get(url(view)).status_code == (200 if allowed else 403)
    if not allowed:
        assert client.post(url(view), {"name": "x"}).status_code == 403
        refused = events("access.denied", actor_id=str(client.person.pk))
        assert {event.after["method"] for event in refused} == {"GET", "POST"}
        assert refused[0].after["path"] == url(view)
        assert refused[0].outcome == "denied"


@pytest.mark.parametrize("group", GROUPS)
def test_the_side_bar_leads_only_where_the_group_may_go(browse: Callable[..., Any], group: str) -> None:
    shown = browse(group).get(url("index")).content.decode()
    nav = shown[shown.index("nav-sidebar-apps") : shown.index('id="main"')]
    for view, allowed in LISTS.items():
        if view not in ("index", "fleet"):
            assert (f'href="{url(view)}"' in nav) == (group in allowed), view


@pytest.mark.parametrize("act", ACTS)
def test_acts_on_a_tenant(browse: Callable[..., Any], tenant: Any, act: str) -> None:
    from provisioning import services

    state, allowed = ACTS[act]
    if state == "suspended":
        services.suspend_tenant(tenant_id=tenant.pk, actor=ACTOR, source=SOURCE)
    if state == "deleted":
        services.delete_tenant(tenant_id=tenant.pk, actor=ACTOR, source=SOURCE)
    sent = {"confirm_slug": tenant.slug, "reason": "test", "name": "Taken over", "plan": "standard", "version": "1"}
    operations = tenant.operations.count()
    for group in GROUPS:
        client = browse(group)
        offered = f'href="{tenant_url(tenant, act)}"' in client.get(tenant_url(tenant)).content.decode()
        assert offered == (group in allowed), group
        assert client.get(tenant_url(tenant, act)).status_code == (200 if group in allowed else 403)
        if group not in allowed:
            assert client.post(tenant_url(tenant, act), sent).status_code == 403
    tenant.refresh_from_db()
    assert (tenant.state, tenant.operations.count()) == (state, operations)


@pytest.mark.parametrize("group", GROUPS)
def test_bulk_actions(browse: Callable[..., Any], tenant: Any, group: str) -> None:
    client = browse(group)
    page = url("tenants_tenant_changelist")
    assert ("suspend_selected" in client.get(page).content.decode()) == (group in OPERATORS)
    sent = {"action": "suspend_selected", "_selected_action": str(tenant.pk), "confirmed": "yes", "reason": ""}
    client.post(page, sent)
    tenant.refresh_from_db()
    assert tenant.state == ("suspended" if group in OPERATORS else "active")


@pytest.mark.parametrize("group", GROUPS)
def test_operations_can_be_cancelled_tried_again_and_collected_by_operators(
    browse: Callable[..., Any], template: Any, plan: Any, group: str
) -> None:
    from provisioning import services
    from tenants import operations

    client = browse(group)
    caller = {"actor": ACTOR, "source": SOURCE}
    made = services.provision_tenant(name="Cold", slug=fresh_slug(), respond_async=True, **caller)
    page = url("tenants_operation_change", made.operation.pk)
    buttons = {act: url(f"tenants_operation_{act}", made.operation.pk) for act in ("cancel", "retry")}
    buttons["collect"] = url("tenants_tenant_credentials", made.tenant.pk, made.operation.pk)

    def offered(act: str) -> bool:
        return buttons[act] in client.get(page).content.decode()

    may = group in OPERATORS
    assert offered("cancel") == may
    assert client.post(buttons["cancel"], {"reason": ""}).status_code == (302 if may else 403)
    if not may:
        operations.cancel(made.operation, **caller)
    assert offered("retry") == may
    assert client.post(buttons["retry"]).status_code == (302 if may else 403)
    if not may:
        operations.retry(made.operation, **caller)
    again = Operation.objects.get(retry_of=made.operation)
    operations.work(again.pk)
    page = url("tenants_operation_change", again.pk)
    buttons["collect"] = url("tenants_tenant_credentials", made.tenant.pk, again.pk)
    assert offered("collect") == may
    response = client.post(buttons["collect"])
    assert response.status_code == (200 if may else 403)
    assert ('id="password"' in response.content.decode()) == may


@pytest.mark.parametrize(
    ("view", "allowed"),
    [
        ("tenants_cluster_edit", ADMINISTRATORS),
        ("tenants_plan_edit", ADMINISTRATORS),
        ("tenants_apikey_revoke", ADMINISTRATORS),
        ("tenants_cluster_check", OPERATORS),
        ("provisioning_template_fill", OPERATORS),
    ],
)
def test_other_acts(browse: Callable[..., Any], template: Any, plan: Any, view: str, allowed: set[str]) -> None:
    from tenants.api_keys import create_api_key

    key, _ = create_api_key(name="tests", scopes=["tenants:read"], actor=ACTOR, source=SOURCE)
    app, model, _act = view.split("_")
    targets = {
        "cluster": Cluster.objects.get(is_default=True).pk,
        "plan": plan.pk,
        "apikey": key.pk,
        "template": template.template_id,
    }
    act, page = url(view, targets[model]), url(f"{app}_{model}_change", targets[model])
    before = list(Plan.objects.values()), list(Cluster.objects.values("state")), ApiKey.objects.get(pk=key.pk).usable
    for group in GROUPS:
        client = browse(group)
        sees_page = client.get(page)
        if sees_page.status_code == 200:
            assert (f'"{act}"' in sees_page.content.decode()) == (group in allowed), group
        assert client.get(act).status_code in ({200, 302} if group in allowed else {403}), group
        if group not in allowed:
            assert client.post(act, {"name": "x", "state": "disabled", "reason": ""}).status_code == 403
    assert before == (
        list(Plan.objects.values()),
        list(Cluster.objects.values("state")),
        ApiKey.objects.get(pk=key.pk).usable,
    )


def test_nobody_changes_or_deletes_what_is_read_only(browse: Callable[..., Any], tenant: Any) -> None:
    from provisioning.models import SchemaSlot
    from tenants.models import AuditEvent

    client = browse(ADMINISTRATOR, is_superuser=True)
    rows = {
        "tenants_auditevent": AuditEvent.objects.filter(tenant_id=tenant.pk).first(),
        "tenants_operation": tenant.operations.get(),
        "provisioning_schemaslot": SchemaSlot.objects.get(tenant=tenant),
    }
    for view, row in rows.items():
        assert client.get(url(f"{view}_delete", row.pk)).status_code == 403
        client.post(url(f"{view}_change", row.pk), {"state": "failed", "action": "changed", "reason": "changed"})
        before = {field.attname: getattr(row, field.attname) for field in row._meta.fields}
        row.refresh_from_db()
        assert before == {field.attname: getattr(row, field.attname) for field in row._meta.fields}


def test_an_auditor_sees_accounts_but_no_part_of_a_password(browse: Callable[..., Any], person: Any) -> None:
    somebody = person(VIEWER, password=PASSWORD)
    page = browse(AUDITOR).get(url("auth_user_change", somebody.pk)).content.decode()
    assert somebody.username in page
    assert "pbkdf2" not in page
    assert somebody.password.split("$")[2][:6] not in page


def test_staff_without_a_group_are_told_what_to_do(browse: Callable[..., Any]) -> None:
    client = browse("")
    assert "Ask an administrator" in client.get(url("index")).content.decode()
    assert client.get(url("fleet")).status_code == 403
    assert client.get(url("tenants_tenant_changelist")).status_code == 403


def test_ensure_groups_sets_changed_groups_right(groups: Any) -> None:
    from tenants.groups import ensure_groups

    groups[VIEWER].permissions.clear()
    again = ensure_groups()
    names = {f"{p.content_type.app_label}.{p.codename}" for p in again[VIEWER].permissions.all()}
    assert names == GROUPS[VIEWER]
    assert GROUPS[VIEWER] < GROUPS[OPERATOR] < GROUPS[ADMINISTRATOR]
    assert GROUPS[AUDITOR] < GROUPS[ADMINISTRATOR]


def test_signed_out_people_are_sent_to_the_login_and_their_polls_reload(tenant: Any) -> None:
    from django.test import Client

    client = Client()
    assert "/admin/login/" in client.get(tenant_url(tenant))["Location"]
    poll = client.get(url("fleet"), headers={"HX-Request": "true"})
    assert poll["HX-Refresh"] == "true"
    assert poll.content == b""
    assert Tenant.objects.filter(pk=tenant.pk, state="active").exists()
