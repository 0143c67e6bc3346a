"""The four groups of people who use the admin, each with what the one before it may and more."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q

VIEWER, OPERATOR, AUDITOR, ADMINISTRATOR = "viewer", "operator", "auditor", "administrator"

_VIEWER = """
tenants.view_tenant tenants.view_operation tenants.view_cluster tenants.view_plan
provisioning.view_purgerequest
backups.view_backup backups.view_backuppolicy backups.view_storage backups.view_restoredrill
backups.view_keptschema backups.view_backupstatus
tenants.view_isolationfinding tenants.view_isolationattempt
provisioning.view_template provisioning.view_templateversion provisioning.view_schemaslot
monitoring.view_alert monitoring.view_alertrule monitoring.view_notificationchannel monitoring.view_notification
""".split()

_OPERATOR = """
tenants.add_tenant tenants.change_tenant tenants.suspend_tenant tenants.resume_tenant tenants.delete_tenant
tenants.undelete_tenant tenants.rotate_tenant tenants.collect_credentials
tenants.cancel_operation tenants.retry_operation tenants.check_cluster provisioning.fill_pool
backups.add_backup backups.verify_backup backups.pin_backup backups.run_restoredrill
monitoring.acknowledge_alert monitoring.silence_alertrule monitoring.test_notificationchannel
""".split()

# Looks at everything, touches nothing (but signs off what was read), learns no secret.
_AUDITOR = """
tenants.view_auditevent tenants.view_auditverification tenants.run_auditverification
tenants.view_auditreview tenants.add_auditreview
tenants.view_apikey auth.view_user auth.view_group door.view_signinpolicy
""".split()

_ADMINISTRATOR = """
tenants.purge_tenant tenants.add_cluster tenants.change_cluster tenants.prepare_cluster
tenants.add_plan tenants.change_plan tenants.add_apikey tenants.revoke_apikey provisioning.open_migrator
tenants.reveal_credentials provisioning.issue_credential
backups.restore_backup backups.change_backuppolicy backups.add_storage backups.change_storage backups.test_storage
monitoring.add_alertrule monitoring.change_alertrule
monitoring.add_notificationchannel monitoring.change_notificationchannel
auth.add_user auth.change_user auth.delete_user auth.add_group auth.change_group auth.delete_group
door.view_signinpolicy door.add_signinpolicy door.change_signinpolicy door.delete_signinpolicy
""".split()
_SCHEDULES = [
    f"django_celery_beat.{verb}_{model}"
    for model in ("periodictask", "intervalschedule", "crontabschedule")
    for verb in ("view", "add", "change", "delete")
]

GROUPS: dict[str, frozenset[str]] = {
    VIEWER: frozenset(_VIEWER),
    OPERATOR: frozenset([*_VIEWER, *_OPERATOR]),
    AUDITOR: frozenset([*_VIEWER, *_AUDITOR]),
    ADMINISTRATOR: frozenset([*_VIEWER, *_OPERATOR, *_AUDITOR, *_ADMINISTRATOR, *_SCHEDULES]),
}


@transaction.atomic
def ensure_groups() -> dict[str, Group]:
    """Make the four groups, or set their permissions right again. Run it after `migrate`, which makes those.

    Raises LookupError when a permission does not exist. Copy a group to make variations of it: these are reset.
    """
    wanted = frozenset().union(*GROUPS.values())
    known = {f"{row.content_type.app_label}.{row.codename}": row for row in _permissions(wanted)}
    if missing := wanted - known.keys():
        raise LookupError(f"There is no permission {min(missing)}: run `manage.py migrate` first.")
    groups = {}
    for name, permissions in GROUPS.items():
        groups[name], _ = Group.objects.get_or_create(name=name)
        groups[name].permissions.set(known[permission] for permission in permissions)
    return groups


def _permissions(names: frozenset[str]) -> list[Permission]:
    either = Q()
    for name in names:
        app, codename = name.split(".")
        either |= Q(content_type__app_label=app, codename=codename)
    return list(Permission.objects.filter(either).select_related("content_type"))
