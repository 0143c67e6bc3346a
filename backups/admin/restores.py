"""The restore wizard on a backup's page, and drills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from backups.management.represent import size
from backups.models import Backup
from backups.services import drills, preview, restore
from backups.services.sources import open_backup, tables_of
from tenants.admin.base import ControlPlaneAdmin, require
from tenants.admin.forms import ReasonForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.models import Cluster, Operation, Plan, Tenant

MAY = "backups.restore_backup"
SHOWN_TABLES = 12
# What is only to be looked at needs no restore into the tenant.
BESIDE = "Only to look at it? “Restore into a new tenant” makes a copy beside this one and changes nothing here."


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
    field_order: Sequence[str] = ("confirm_slug", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class InPlaceForm(ConfirmedForm):
    """A backup in the place of the present schema."""

    backup_before = forms.BooleanField(required=False, initial=True, label="Back up the present state first")
    keep_days = forms.IntegerField(
        min_value=1, max_value=restore.MAX_KEEP_DAYS, initial=restore.KEEP_DAYS, label="Keep what is replaced for days"
    )


class TablesForm(ConfirmedForm):
    """The rows of some tables."""

    tables = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple)
    backup_before = forms.BooleanField(required=False, initial=True, label="Back up the present state first")
    field_order = ("tables", "backup_before", "confirm_slug", "reason")


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
    try:
        found = preview.preview_same(backup=row, tenant=_tenant_of(row))
    except ControlPlaneError as error:
        return _back(request, row, error)

    def perform(data: dict[str, Any]) -> HttpResponse:
        begun = restore.restore_same(backup=row, **data, actor=actor_of(request), source=source_of(request))
        messages.success(request, f"{begun.tenant} is being restored; it works on until the exchange.")
        return to_operation(begun.operation)

    return form_page(
        page, request, InPlaceForm, perform, title=f"Restore {row.tenant}", submit="Restore in place", obj=row,
        danger=True, confirm=True, intro=f"{row.tenant} becomes what it was at {found.snapshot_at}.",
        initial={"backup_before": True, "keep_days": restore.KEEP_DAYS},
        lines=[*found.changes, *[f"Lost: {loss}" for loss in found.losses], BESIDE], facts=_facts(found),
    )  # fmt: skip


def tables_view(page: ControlPlaneAdmin, request: HttpRequest, object_id: UUID) -> HttpResponse:
    """Restore the rows of some tables alone: which there are, their rows then and now, and a typed confirmation."""
    require(request, MAY)
    row: Backup = page.find(request, object_id)
    try:
        tenant, names = _tenant_of(row), tables_of(open_backup(row))
        found = preview.preview_tables(backup=row, tenant=tenant, names=names)
    except ControlPlaneError as error:
        return _back(request, row, error)
    rows = {table.name: f"{_rows(table.rows_then)} then, {_rows(table.rows_now)} now" for table in found.tables}

    class Form(TablesForm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fields["tables"].choices = [(name, f"{name} ({rows[name]})") for name in names]  # type: ignore[attr-defined]

    def perform(data: dict[str, Any]) -> HttpResponse:
        begun = restore.restore_tables(backup=row, **data, actor=actor_of(request), source=source_of(request))
        messages.success(request, f"The rows are being brought in beside {begun.tenant}, which works on.")
        return to_operation(begun.operation)

    return form_page(
        page, request, Form, perform, title=f"Restore tables of {row.tenant}", submit="Replace their rows", obj=row,
        danger=True, confirm=True, intro=f"The chosen tables get the rows they had at {found.snapshot_at}.",
        initial={"backup_before": True},
        lines=["Their present rows are replaced in one transaction; all other tables stay as they are.", BESIDE],
        facts=_facts(found)[:4],
    )  # fmt: skip


def _tenant_of(row: Backup) -> Tenant:
    if row.tenant is None:
        raise Conflict("Its tenant is gone: restore it into a new one.", code="wrong_state")
    return row.tenant


def _back(request: HttpRequest, row: Backup, error: ControlPlaneError) -> HttpResponse:
    messages.error(request, str(error))
    return HttpResponseRedirect(reverse("admin:backups_backup_change", args=[row.pk]))


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
