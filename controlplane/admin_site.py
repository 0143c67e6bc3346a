"""The admin site: unfold's, with refusals in the audit log, our navigation and the fleet on its first page."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper, wraps
from typing import Any, NoReturn

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from unfold.sites import UnfoldAdminSite

from tenants import audit
from tenants.callers import actor_of, source_of
from tenants.models import AuditEvent

View = Callable[..., HttpResponse]

# Title, address, icon, and the permission without which it is not shown.
_NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "",
        (
            ("Fleet", "index", "dashboard", ""),
            ("Tenants", "tenants_tenant_changelist", "apartment", "tenants.view_tenant"),
            ("Operations", "tenants_operation_changelist", "pending_actions", "tenants.view_operation"),
        ),
    ),
    (
        "Provisioning",
        (
            ("Purge requests", "provisioning_purgerequest_changelist", "how_to_vote", "provisioning.view_purgerequest"),
            ("Clusters", "tenants_cluster_changelist", "dns", "tenants.view_cluster"),
            ("Plans", "tenants_plan_changelist", "sell", "tenants.view_plan"),
            ("Templates", "provisioning_template_changelist", "schema", "provisioning.view_template"),
            (
                "Template versions",
                "provisioning_templateversion_changelist",
                "layers",
                "provisioning.view_templateversion",
            ),
            ("Slots", "provisioning_schemaslot_changelist", "inventory_2", "provisioning.view_schemaslot"),
        ),
    ),
    (
        "Backups",
        (
            ("Backups", "backups_backup_changelist", "backup", "backups.view_backup"),
            ("Set aside by restores", "backups_keptschema_changelist", "layers", "backups.view_keptschema"),
            ("Overdue", "backups_backup_overdue", "running_with_errors", "backups.view_backup"),
            ("Policies", "backups_backuppolicy_changelist", "event_repeat", "backups.view_backuppolicy"),
            ("Storages", "backups_storage_changelist", "hard_drive", "backups.view_storage"),
        ),
    ),
    (
        "Monitoring",
        (
            ("Alerts", "monitoring_alert_changelist", "notifications_active", "monitoring.view_alert"),
            ("Rules", "monitoring_alertrule_changelist", "rule", "monitoring.view_alertrule"),
            (
                "Channels",
                "monitoring_notificationchannel_changelist",
                "campaign",
                "monitoring.view_notificationchannel",
            ),
            ("Messages", "monitoring_notification_changelist", "outgoing_mail", "monitoring.view_notification"),
            ("Runbooks", "runbooks", "menu_book", ""),
        ),
    ),
    (
        "Access",
        (
            (
                "Isolation findings",
                "tenants_isolationfinding_changelist",
                "gpp_maybe",
                "tenants.view_isolationfinding",
            ),
            (
                "Isolation attempts",
                "tenants_isolationattempt_changelist",
                "person_alert",
                "tenants.view_isolationattempt",
            ),
            ("Audit events", "tenants_auditevent_changelist", "fact_check", "tenants.view_auditevent"),
            ("Verifications", "tenants_auditverification_changelist", "verified", "tenants.view_auditverification"),
            ("Reviews", "tenants_auditreview_changelist", "task_alt", "tenants.view_auditreview"),
            ("API keys", "tenants_apikey_changelist", "key", "tenants.view_apikey"),
            ("Users", "auth_user_changelist", "person", "auth.view_user"),
            ("Groups", "auth_group_changelist", "groups", "auth.view_group"),
            ("Sign-in policies", "door_signinpolicy_changelist", "phonelink_lock", "door.view_signinpolicy"),
        ),
    ),
    (
        "Schedules",
        (
            (
                "Periodic tasks",
                "django_celery_beat_periodictask_changelist",
                "schedule",
                "django_celery_beat.view_periodictask",
            ),
            (
                "Intervals",
                "django_celery_beat_intervalschedule_changelist",
                "timer",
                "django_celery_beat.view_intervalschedule",
            ),
            (
                "Cron schedules",
                "django_celery_beat_crontabschedule_changelist",
                "event_repeat",
                "django_celery_beat.view_crontabschedule",
            ),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The side bar: what the signed-in person may see."""
    groups = []
    for title, items in _NAVIGATION:
        allowed = [
            {"title": name, "link": reverse(f"admin:{view}"), "icon": icon}
            for name, view, icon, permission in items
            if not permission or request.user.has_perm(permission)
        ]
        if allowed:
            groups.append({"title": title or None, "separator": bool(title), "items": allowed})
    return groups


def colours_url(request: HttpRequest) -> str:
    """Where the colours are: a file of their own, since the Content-Security-Policy allows no <style> in a page."""
    return reverse("admin:colours")


def colours(request: HttpRequest) -> HttpResponse:
    """The site's colours as CSS variables, as unfold would have written them into each page."""
    look = admin.site._get_colors("COLORS", request)  # type: ignore[attr-defined]
    lines = [
        f"--color-{name}-{weight}: {value};" for name, weights in look.items() for weight, value in weights.items()
    ]
    radius = admin.site._get_config("BORDER_RADIUS", request)  # type: ignore[attr-defined]
    css = "\n".join([":root {", f"--border-radius: {radius};", *lines, "}"])
    return HttpResponse(css, content_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


def stylesheet(request: HttpRequest) -> str:
    """Where our own styles are."""
    return static("tenants/admin.css")


def script(request: HttpRequest) -> str:
    """Where our own script is."""
    return static("tenants/admin.js")


def security_url(request: HttpRequest) -> str:
    """One's own sign-in security, in the account's menu."""
    return reverse("admin:security")


def favicon(request: HttpRequest) -> str:
    """Where the site's icon is."""
    return static("tenants/icon.svg")


class ControlPlaneAdminSite(UnfoldAdminSite):
    """Unfold's site, in which each refused permission leaves an `access.denied` event."""

    index_title = "Fleet"
    enable_nav_sidebar = True

    @cached_property
    def own_urls(self) -> list[URLPattern]:
        """Pages that belong to no model."""
        from controlplane.boards.views import board_urls  # these need the site's models
        from controlplane.dashboard import dashboard_fragment
        from controlplane.door.urls import door_urls
        from controlplane.runbooks import runbook_urls

        return [
            path("colours.css", colours, name="colours"),
            path("fleet/", self.admin_view(dashboard_fragment), name="fleet"),
            *board_urls(self),
            *door_urls(self),
            *runbook_urls(self),
        ]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The first step of signing in; the door knows the others."""
        from controlplane.door.sign_in import sign_in  # needs the site's models

        return sign_in(request, self, extra_context)

    def extra_urls(self) -> list[URLPattern]:
        """What unfold adds to its own addresses."""
        return self.own_urls

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What all pages share; the colours come from `colours`."""
        return {**super().each_context(request), "colors": None}

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Django's wrapper around one that records refusals.

        A poll by somebody who is signed out by now makes the page load again, instead of getting a login page into it.
        """
        inner = super().admin_view(_watched(view), cacheable)

        def outer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if getattr(request, "htmx", False) and not self.has_permission(request):
                return HttpResponse(headers={"HX-Refresh": "true"})
            return inner(request, *args, **kwargs)

        return update_wrapper(outer, inner)

    def has_permission(self, request: HttpRequest) -> bool:
        """Active members of staff."""
        return bool(request.user.is_active and request.user.is_staff)


def _watched(view: View) -> View:
    @wraps(view)
    def watched(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except PermissionDenied as error:
            _refuse(request, error)

    return watched


def _refuse(request: HttpRequest, error: PermissionDenied) -> NoReturn:
    audit.record(
        "access.denied",
        actor=actor_of(request),
        source=source_of(request),
        outcome=AuditEvent.Outcome.DENIED,
        after={"method": request.method, "path": request.path[:300]},
        reason=str(error),
    )
    raise error
