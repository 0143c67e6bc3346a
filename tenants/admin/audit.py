"""The audit log, to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.display import STATE_LABELS, moment, pretty_json
from tenants.models import AuditEvent

_AREAS = (
    "access",
    "api_key",
    "cluster",
    "credentials",
    "login",
    "operation",
    "plan",
    "template",
    "tenant",
    "user",
    "group",
    "schedule",
)


class AreaFilter(admin.SimpleListFilter):
    """The first word of an action; listing the actions themselves would read the whole log."""

    title = "area"
    parameter_name = "area"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What there is."""
        return [(area, area.replace("_", " ")) for area in _AREAS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        """Events of the chosen area."""
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what, on what, from where. Nothing here can be changed, not even by the database's own login."""

    empty_hint = "Every change, login and refusal is written down here as it happens."
    list_display = ("when", "action", "outcome_badge", "who", "channel", "address", "tenant_link", "what")
    list_display_links = ("when", "action")
    list_filter = ("outcome", AreaFilter, "channel", "actor_kind")
    search_fields = ("=action", "^actor_label", "=tenant_slug", "=request_id", "=target_id", "=ip")
    search_help_text = "Action, actor, tenant, request id"
    paginator = InfinitePaginator  # counting the log would read all of it
    show_full_result_count = False
    list_per_page = 50
    fieldsets = (
        (None, {"fields": ("at", "action", "outcome", "reason")}),
        ("Who, and from where", {"fields": ("actor_label", "actor_kind", "actor_id", "channel", "ip", "request_id")}),
        ("On what", {"fields": ("tenant_link", "tenant_id", "target_type", "target_label", "target_id")}),
        ("Change", {"fields": ("before_json", "after_json")}),
    )
    readonly_fields = ("tenant_link", "before_json", "after_json")

    @display(description="at", ordering="id")
    def when(self, event: AuditEvent) -> Any:
        """How long ago."""
        return moment(event.at)

    @display(description="outcome", label=STATE_LABELS)
    def outcome_badge(self, event: AuditEvent) -> str:
        """In its colour."""
        return event.outcome

    @display(description="actor")
    def who(self, event: AuditEvent) -> str:
        """Name and kind."""
        return f"{event.actor_label} ({event.actor_kind.replace('_', ' ')})"

    @display(description="IP")
    def address(self, event: AuditEvent) -> str:
        """From where."""
        return event.ip or "–"

    @display(description="tenant")
    def tenant_link(self, event: AuditEvent) -> SafeString | str:
        """The tenant; its page outlives its purge."""
        if event.tenant_id is None:
            return "–"
        url = reverse("admin:tenants_tenant_change", args=[event.tenant_id])
        return format_html('<a class="cp-link" href="{}">{}</a>', url, event.tenant_slug)

    @display(description="target")
    def what(self, event: AuditEvent) -> str:
        """Kind and name, unless it is the tenant again."""
        return f"{event.target_type} {event.target_label}"[:60] if event.target_type not in ("", "tenant") else ""

    @display(description="before")
    def before_json(self, event: AuditEvent) -> Any:
        """What it was."""
        return pretty_json(event.before)

    @display(description="after")
    def after_json(self, event: AuditEvent) -> Any:
        """What it became."""
        return pretty_json(event.after)
