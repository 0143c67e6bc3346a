"""Purges that wait for a second person."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from provisioning import services
from provisioning.models import PurgeRequest
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.display import age
from tenants.admin.forms import ReasonForm, form_page
from tenants.callers import actor_of, source_of


@admin.register(PurgeRequest)
class PurgeRequestAdmin(ControlPlaneAdmin):
    """Who asked, why, until when; and what somebody else decided."""

    empty_hint = "Purges wait here where PURGE_NEEDS_APPROVAL or the plan asks for a second person."
    list_display = ("tenant", "state_badge", "requested_by", "age_text", "expires_at", "decided_by")
    list_filter = ("state",)
    list_select_related = ("tenant",)
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Approving and rejecting have a page each."""
        return [
            ("<uuid:object_id>/approve/", self.approve_view, "approve"),
            ("<uuid:object_id>/reject/", self.reject_view, "reject"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are made by asking for a purge."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They are decided, not changed."""
        return False

    @display(
        description="state",
        label={"waiting": "warning", "approved": "danger", "rejected": "success", "expired": "info"},
    )
    def state_badge(self, row: PurgeRequest) -> str:
        """In its colour."""
        return row.state

    @display(description="age", ordering="-requested_at")
    def age_text(self, row: PurgeRequest) -> str:
        """Since when it waits."""
        return age(row.requested_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The request, with its two ways out."""
        row = self.find(request, object_id)
        decidable = row.state == PurgeRequest.State.WAITING and request.user.has_perm("tenants.purge_tenant")
        return self.page(request, "provisioning/admin/purge_request.html", title=str(row), obj=row, decidable=decidable)

    def approve_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask, then start the purge."""
        require(request, "tenants.purge_tenant")
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            actor, source = actor_of(request), source_of(request)
            outcome = services.approve_purge(request_id=row.pk, **data, actor=actor, source=source)
            operation = outcome.operation
            messages.success(request, f"{outcome.tenant.name} is being purged.")
            return HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[operation.pk]))  # type: ignore[union-attr]

        return form_page(
            self, request, ReasonForm, perform, title="Approve the purge", submit="Approve: purge it", obj=row,
            danger=True, confirm=True, intro=f"{row.tenant} is destroyed for good: schema, roles and data.",
            lines=[f"{row.requested_by} asked for it: “{row.reason}”"],
        )  # fmt: skip

    def reject_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask why, then turn it down."""
        require(request, "tenants.purge_tenant")
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            services.reject_purge(request_id=row.pk, **data, actor=actor_of(request), source=source_of(request))
            messages.success(request, "The purge was turned down.")
            return HttpResponseRedirect(reverse("admin:provisioning_purgerequest_change", args=[row.pk]))

        return form_page(
            self, request, ReasonForm, perform, title="Reject the purge", submit="Reject", obj=row,
            intro=f"{row.tenant} stays as it is.",
        )  # fmt: skip
