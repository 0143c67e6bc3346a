"""Backups: what there is, how far it is proven, why it is kept."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from backups.admin import restores
from backups.management.represent import size
from backups.models import Backup
from backups.services import due, history, take, verify
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import STATE_LABELS, duration, moment
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.models import Operation, Tenant

_DAYS = [MinValueValidator(0), MaxValueValidator(take.MAX_KEEP_DAYS)]


class TakeForm(PageForm):
    """A backup now."""

    note = forms.CharField(required=False, max_length=500, help_text="Why, for people.")
    keep_days = forms.IntegerField(
        required=False, validators=_DAYS, label="Keep for days", help_text="Its own retention; empty: its policy's."
    )
    pinned = forms.BooleanField(required=False, label="Keep until somebody takes this away")


class KeepForm(PageForm):
    """How long a backup is kept."""

    note = forms.CharField(required=False, max_length=500, help_text="Why, for people.")
    pinned = forms.BooleanField(required=False, label="Keep until somebody takes this away")
    keep_days = forms.IntegerField(
        required=False, validators=_DAYS, label="Keep for days",
        help_text="From now on; 0: as its policy says; empty: as it is.",
    )  # fmt: skip


@admin.register(Backup)
class BackupAdmin(ReadOnlyAdmin):
    """Taken by schedule and by hand; removed by policies alone."""

    empty_hint = "Backups are taken as policies say, and from a tenant's page."
    list_display = (
        "slug", "state_badge", "moment_text", "rows", "stored", "took", "throughput_text", "verified", "proven",
        "origin",
    )  # fmt: skip
    list_filter = ("state", "origin", "cluster")
    search_fields = ("slug", "=id", "=origin_id")
    show_full_result_count = False

    def pages(self) -> list[tuple[str, View, str]]:
        """What can be done, and who is overdue."""
        return [
            ("take/<uuid:tenant_id>/", self.take_view, "take"),
            ("<uuid:object_id>/verify/", self.verify_view, "verify"),
            ("<uuid:object_id>/keep/", self.keep_view, "keep"),
            ("<uuid:object_id>/restore/", partial(restores.in_place_view, self), "restore"),
            ("<uuid:object_id>/restore-tables/", partial(restores.tables_view, self), "restore_tables"),
            ("<uuid:object_id>/copy/", partial(restores.copy_view, self), "copy"),
            ("<uuid:object_id>/drill/", partial(restores.drill_view, self), "drill"),
            ("overdue/", self.overdue_view, "overdue"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        """Without what is large."""
        return super().get_queryset(request).select_related("tenant", "cluster", "operation").defer("proof")

    @display(description="state", label={**STATE_LABELS, "expiring": "warning", "expired": ""}, ordering="state")
    def state_badge(self, row: Backup) -> str:
        """In its colour; a damaged one is bad, whatever it was."""
        return "failed" if row.damaged_at else row.state

    @display(description="shows", ordering="-created_at")
    def moment_text(self, row: Backup) -> Any:
        """How old the data in it is."""
        return moment(row.snapshot_at or row.created_at)

    @display(description="stored", ordering="stored_bytes")
    def stored(self, row: Backup) -> str:
        """With its unit."""
        return size(row.stored_bytes)

    @display(description="took", ordering="seconds")
    def took(self, row: Backup) -> str:
        """With its unit."""
        return duration(row.seconds)

    @display(description="throughput")
    def throughput_text(self, row: Backup) -> str:
        """Raw bytes a second."""
        return f"{size(int(row.throughput))}/s" if row.throughput else "–"

    @display(description="verified", ordering="verified_at")
    def verified(self, row: Backup) -> Any:
        """When it was last read back."""
        return moment(row.verified_at)

    @display(description="proven", ordering="proven_at")
    def proven(self, row: Backup) -> Any:
        """When it was last restored and compared."""
        return moment(row.proven_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A backup's page."""
        row = self.find(request, object_id)
        return self.page(
            request, "backups/admin/backup.html", title=str(row), obj=row,
            copies=row.copies.select_related("storage"), reasons=history.reasons(row),
            drills=row.drills.all()[:5], gone=row.state in (Backup.State.EXPIRING, Backup.State.EXPIRED),
        )  # fmt: skip

    def take_view(self, request: HttpRequest, tenant_id: UUID) -> HttpResponse:
        """Take one of a tenant now."""
        require(request, "backups.add_backup")
        tenant = Tenant.objects.filter(pk=tenant_id).first()
        if tenant is None:
            raise Http404

        def perform(data: dict[str, Any]) -> HttpResponse:
            asked = take.backup_tenant(tenant_id=tenant.pk, **data, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"{tenant} is being backed up.")
            return _to_operation(asked.operation)

        return form_page(
            self, request, TakeForm, perform, title=f"Back up {tenant}", submit="Back it up now",
            intro="A worker takes it; the tenant's work goes on meanwhile.",
        )  # fmt: skip

    def verify_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Have it read back."""
        require(request, "backups.verify_backup")
        row = self.find(request, object_id)
        if request.method == "POST":
            try:
                operation = verify.verify_backup(backup=row, actor=actor_of(request), source=source_of(request))
            except ControlPlaneError as error:
                messages.error(request, str(error))
            else:
                return _to_operation(operation)
        return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))

    def keep_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Change how long it is kept."""
        require(request, "backups.pin_backup")
        row = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            take.change_backup(backup=row, **data, actor=actor_of(request), source=source_of(request))
            messages.success(request, "It is kept as you said.")
            return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))

        return form_page(
            self, request, KeepForm, perform, title="Keep this backup", submit="Save", obj=row,
            initial={"note": row.note, "pinned": row.pinned}, lines=history.reasons(row) or ["Nothing keeps it now."],
        )  # fmt: skip

    def overdue_view(self, request: HttpRequest) -> HttpResponse:
        """Tenants whose last good backup is older than their policy allows."""
        require(request, "backups.view_backup")
        rows = due.overdue()
        return self.page(
            request, "backups/admin/overdue.html", title="Overdue backups", rows=rows[:200], count=rows.count()
        )


def _to_operation(operation: Operation) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[operation.pk]))
