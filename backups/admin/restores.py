"""The restore wizard on a backup's page, drills, and what restores have set aside."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from backups.management.represent import size
from backups.models import Backup, KeptSchema
from backups.services import drills, kept, preview, restore
from tenants.admin.base import ControlPlaneAdmin, ReadOnlyAdmin, View, require
from tenants.admin.display import STATE_LABELS, moment
from tenants.admin.forms import ReasonForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Operation, Plan

MAY = "backups.restore_backup"
SHOWN_TABLES = 12
_STATES = {
    **STATE_LABELS,
    "kept": "info",
    "undone": "warning",
    "dropping": "warning",
    "dropped": "",
    "restoring": "info",
}


class CopyForm(ReasonForm):
    """A backup as a new tenant."""

    slug = forms.CharField(max_length=40, help_text="The new tenant's.")
    name = forms.CharField(max_length=120, required=False, help_text="Empty: as it was, with “(copy)”.")
    plan = forms.ChoiceField(required=False)
    cluster = forms.ChoiceField(required=False)
    field_order = ("slug", "name", "plan", "cluster", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plans = [(row.slug, row.name) for row in Plan.objects.all()]
        open_ones = Cluster.objects.filter(state=Cluster.State.ACTIVE, host_cluster=None, dedicated_to=None)
        self.fields["plan"].choices = [("", "as it was"), *plans]  # type: ignore[attr-defined]
        clusters = [("", "where it was taken"), *((row.name, row.name) for row in open_ones)]
        self.fields["cluster"].choices = clusters  # type: ignore[attr-defined]


class ConfirmedForm(ReasonForm):
    """A typed slug and a reason."""

    confirm_slug = forms.CharField(label="Type the tenant's slug")
    field_order = ("confirm_slug", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class InPlaceForm(ConfirmedForm):
    """A backup in the place of the present schema."""

    backup_before = forms.BooleanField(required=False, initial=True, label="Back up the present state first")
    keep_days = forms.IntegerField(
        min_value=1, max_value=restore.MAX_KEEP_DAYS, initial=restore.KEEP_DAYS, label="Keep what is replaced for days"
    )


def copy_view(page: ControlPlaneAdmin, request: HttpRequest, object_id: UUID) -> HttpResponse:
    """Restore into a new tenant."""
    require(request, MAY)
    row = page.find(request, object_id)

    def perform(data: dict[str, Any]) -> HttpResponse:
        chosen = {name: data[name] or None for name in ("name", "plan", "cluster")}
        begun = restore.restore_to_new(
            backup=row, slug=data["slug"], reason=data["reason"], **chosen, actor=actor_of(request),
            source=source_of(request),
        )  # fmt: skip
        messages.success(request, f"{begun.tenant} is being made. Its credentials are collected when it is there.")
        return to_operation(begun.operation)

    expected = preview.expected_seconds(row.raw_bytes, row.cluster)
    return form_page(
        page, request, CopyForm, perform, title="Restore into a new tenant", submit="Make the tenant", obj=row,
        error_fields={"slug_taken": "slug", "server_older": "cluster"},
        intro=f"{row.rows:,} rows, {size(row.raw_bytes)}; about {expected.seconds:.0f} s. {row.slug} stays as it is.",
    )  # fmt: skip


def in_place_view(page: ControlPlaneAdmin, request: HttpRequest, object_id: UUID) -> HttpResponse:
    """Restore in the place of the tenant's present schema: what that changes, and a typed confirmation."""
    require(request, MAY)
    row: Backup = page.find(request, object_id)
    if row.tenant is None:
        messages.error(request, "Its tenant is gone: restore it into a new one.")
        return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))
    try:
        found = preview.preview_same(backup=row, tenant=row.tenant)
    except ControlPlaneError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))

    def perform(data: dict[str, Any]) -> HttpResponse:
        begun = restore.restore_same(backup=row, **data, actor=actor_of(request), source=source_of(request))
        messages.success(request, f"{begun.tenant} is being restored; it works on until the exchange.")
        return to_operation(begun.operation)

    return form_page(
        page, request, InPlaceForm, perform, title=f"Restore {row.tenant}", submit="Restore in place", obj=row,
        danger=True, confirm=True, intro=f"{row.tenant} becomes what it was at {found.snapshot_at}.",
        initial={"backup_before": True, "keep_days": restore.KEEP_DAYS},
        lines=[*found.changes, *[f"Lost: {loss}" for loss in found.losses]], facts=_facts(found),
    )  # fmt: skip


def _facts(found: preview.Preview) -> list[tuple[str, str]]:
    by = f"by {found.expected.measured_by} earlier ones" if found.expected.measured_by else "assumed"
    changed = {True: "yes", False: "no", None: "not known"}[found.changed]
    differing = [table for table in found.tables if table.rows_now != table.rows_then]
    return [
        ("Rows then / now", f"{found.rows_then:,} / {found.rows_now or 0:,}"),
        ("Size", size(found.bytes)),
        ("Expected time", f"{found.expected.seconds:.0f} s ({by})"),
        ("Changed since", changed),
        *[(table.name, f"{_rows(table.rows_then)} / {_rows(table.rows_now)}") for table in differing[:SHOWN_TABLES]],
    ]


def _rows(count: int | None) -> str:
    return "not there" if count is None else f"{count:,}"


def drill_view(page: ControlPlaneAdmin, request: HttpRequest, object_id: UUID) -> HttpResponse:
    """Prove it by a restore into a scratch schema."""
    require(request, "backups.run_restoredrill")
    row = page.find(request, object_id)
    if request.method == "POST":
        try:
            begun = drills.run_drill(backup=row, actor=actor_of(request), source=source_of(request))
        except ControlPlaneError as error:
            messages.error(request, str(error))
        else:
            return to_operation(begun.operation)
    return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))


def to_operation(operation: Operation) -> HttpResponse:
    """Where its progress is seen."""
    return HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[operation.pk]))


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
        require(request, MAY)
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            caller: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
            return to_operation(kept.confirm_restore(kept=kept.get_kept(row.pk), **data, **caller))

        return form_page(
            self, request, ReasonForm, perform, title="Confirm the restore", submit="Drop it", obj=row, danger=True,
            intro=f"{row.schema_name} of {row.tenant} is dropped; the restore cannot be undone after that.",
        )  # fmt: skip

    def undo_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The restore was wrong."""
        require(request, MAY)
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            caller: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
            return to_operation(kept.undo_restore(kept=kept.get_kept(row.pk), **data, **caller))

        return form_page(
            self, request, ConfirmedForm, perform, title="Undo the restore", submit="Put it back", obj=row,
            danger=True, confirm=True,
            intro=f"{row.tenant} becomes what it was before the restore; what it wrote since is set aside in turn.",
        )  # fmt: skip
