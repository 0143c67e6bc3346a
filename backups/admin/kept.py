"""What restores in place have set aside: shown, confirmed, undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from backups.admin.restores import MAY, ConfirmedForm, to_operation
from backups.models import KeptSchema
from backups.services import kept
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import STATE_LABELS, moment
from tenants.admin.forms import ReasonForm, form_page
from tenants.callers import actor_of, source_of
from tenants.models import Operation

_STATES = {
    **STATE_LABELS,
    "kept": "info",
    "undone": "warning",
    "dropping": "warning",
    "dropped": "",
    "restoring": "info",
}


@admin.register(KeptSchema)
class KeptSchemaAdmin(ReadOnlyAdmin):
    """What restores in place have replaced."""

    empty_hint = "A restore in place keeps what it replaces, until it is confirmed."
    list_display = ("schema_name", "tenant", "state_badge", "since", "until")
    list_filter = ("state",)
    search_fields = ("schema_name", "tenant__slug")

    def pages(self) -> list[tuple[str, View, str]]:
        """Confirm, and undo."""
        return [
            ("<int:object_id>/confirm/", self.confirm_view, "confirm"),
            ("<int:object_id>/undo/", self.undo_view, "undo"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[KeptSchema]:
        """With its tenant."""
        return super().get_queryset(request).select_related("tenant", "cluster", "backup", "operation")

    @display(description="state", label=_STATES, ordering="state")
    def state_badge(self, row: KeptSchema) -> str:
        """In its colour."""
        return row.state

    @display(description="set aside", ordering="-created_at")
    def since(self, row: KeptSchema) -> Any:
        """When."""
        return moment(row.created_at)

    @display(description="kept until", ordering="keep_until")
    def until(self, row: KeptSchema) -> Any:
        """Its deadline."""
        return moment(row.keep_until)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Its page."""
        row = self.find(request, object_id)
        return self.page(request, "backups/admin/kept_schema.html", title=str(row), obj=row)

    def confirm_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The restore was right."""
        return self._settle(
            request, object_id, ReasonForm, kept.confirm_restore, title="Confirm the restore", submit="Drop it",
            intro="{row.schema_name} of {row.tenant} is dropped; the restore cannot be undone after that.",
        )  # fmt: skip

    def undo_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The restore was wrong."""
        return self._settle(
            request, object_id, ConfirmedForm, kept.undo_restore, title="Undo the restore", submit="Put it back",
            confirm=True,
            intro="{row.tenant} becomes what it was before the restore; what it wrote since is set aside in turn.",
        )  # fmt: skip

    def _settle(
        self, request: HttpRequest, object_id: int, form: type[ReasonForm], service: Callable[..., Operation], *,
        intro: str, **page: Any,
    ) -> HttpResponse:  # fmt: skip
        require(request, MAY)
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            caller: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
            return to_operation(service(kept=kept.get_kept(row.pk), **data, **caller))

        return form_page(self, request, form, perform, obj=row, danger=True, intro=intro.format(row=row), **page)
