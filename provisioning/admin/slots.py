"""Slots, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from provisioning.models import SchemaSlot
from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.display import STATE_LABELS, duration, link_to, moment


@admin.register(SchemaSlot)
class SchemaSlotAdmin(ReadOnlyAdmin):
    """Schemas that wait for a tenant or have one."""

    empty_hint = "Slots are made by the workers as soon as there is a default template and a pool target."
    list_display = ("schema_name", "state_badge", "cluster", "version", "tenant_link", "built", "created")
    list_filter = ("state", "cluster", "template_version")
    list_select_related = ("cluster", "template_version__template", "tenant")
    search_fields = ("schema_name", "^tenant__slug")
    fields = (
        "schema_name",
        "state",
        "cluster",
        "version",
        "tenant_link",
        "created_at",
        "ready_at",
        "claimed_at",
        "built",
        "lease_expires_at",
    )
    readonly_fields = ("version", "tenant_link", "built")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SchemaSlot]:
        """Without the versions' scripts, which are long."""
        return super().get_queryset(request).defer("template_version__script")

    @display(description="state", label={**STATE_LABELS, "claimed": "info"}, ordering="state")
    def state_badge(self, slot: SchemaSlot) -> str:
        """In its colour."""
        return slot.state

    @display(description="template", ordering="template_version")
    def version(self, slot: SchemaSlot) -> Any:
        """What it is a copy of."""
        return link_to(slot.template_version)

    @display(description="tenant")
    def tenant_link(self, slot: SchemaSlot) -> Any:
        """Whose it is."""
        return link_to(slot.tenant)

    @display(description="built in", ordering="build_seconds")
    def built(self, slot: SchemaSlot) -> str:
        """How long it took to make."""
        return duration(slot.build_seconds)

    @display(description="created", ordering="created_at")
    def created(self, slot: SchemaSlot) -> Any:
        """How long ago."""
        return moment(slot.created_at)
