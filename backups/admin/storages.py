"""Storages: added after a try, tried again at the press of a button."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display

from backups.management.represent import size
from backups.models import Storage
from backups.services import storages
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.display import STATE_LABELS, moment
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError

_SECRET = forms.PasswordInput(attrs={"autocomplete": "new-password"})


class LimitsForm(PageForm):
    """What can be changed later, too."""

    is_default = forms.BooleanField(required=False, label="Backups go there whose policy names none")
    lock_mode = forms.ChoiceField(choices=Storage.Lock.choices, label="Retention lock")
    lock_days = forms.IntegerField(min_value=0, max_value=36_500, initial=0, help_text="How long nobody can delete.")
    bandwidth = forms.IntegerField(min_value=0, initial=0, help_text="Bytes a second for each backup; 0: no limit.")
    concurrency = forms.IntegerField(min_value=1, max_value=64, initial=4, help_text="Backups at the same time.")
    access_key_id = forms.CharField(required=False, max_length=200)
    secret = forms.CharField(
        required=False, strip=False, widget=_SECRET, label="Secret key",
        help_text="Stored encrypted, never shown. Empty: it stays, or the machine's own credentials are used.",
    )  # fmt: skip


class ChangeStorageForm(LimitsForm):
    """What can be changed."""

    state = forms.ChoiceField(choices=Storage.State.choices, help_text="A disabled one is only read from.")
    field_order = ("state",)


class NewStorageForm(LimitsForm):
    """A place for backups."""

    name = forms.SlugField(max_length=40)
    kind = forms.ChoiceField(choices=Storage.Kind.choices)
    path = forms.CharField(required=False, max_length=500, help_text="Of a directory that all workers see.")
    bucket = forms.CharField(required=False, max_length=200)
    key_prefix = forms.CharField(required=False, max_length=200, label="Prefix", help_text="Below which part of it.")
    endpoint_url = forms.CharField(required=False, max_length=500, help_text="Empty: Amazon's.")
    region = forms.CharField(required=False, max_length=60)
    addressing_style = forms.ChoiceField(choices=[(word, word) for word in storages.ADDRESSING], required=False)
    field_order = ("name", "kind", "path", "bucket", "key_prefix", "endpoint_url", "region", "addressing_style",
                   "access_key_id", "secret")  # fmt: skip


@admin.register(Storage)
class StorageAdmin(ControlPlaneAdmin):
    """Where backups lie."""

    empty_hint = "Add one: without a storage nothing is backed up."
    list_display = ("name", "kind", "where", "state_badge", "is_default", "lock", "held", "stored", "checked")
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing and trying."""
        return [
            ("<int:object_id>/edit/", self.edit_view, "edit"),
            ("<int:object_id>/test/", self.test_view, "test"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Storage]:
        """With what lies there."""
        there = Q(copies__state="stored")
        return (
            super()
            .get_queryset(request)
            .annotate(count=Count("copies", filter=there), total=Sum("copies__bytes", filter=there))
        )

    @display(description="place")
    def where(self, row: Storage) -> str:
        """Path or bucket."""
        return row.place

    @display(description="state", label=STATE_LABELS)
    def state_badge(self, row: Storage) -> str:
        """In its colour; one that does not work is bad."""
        return "down" if row.last_error else row.state

    @display(description="lock")
    def lock(self, row: Storage) -> str:
        """Mode and days."""
        return f"{row.lock_mode}, {row.lock_days} d" if row.lock_days else "–"

    @display(description="backups", ordering="count")
    def held(self, row: Any) -> int:
        """How many lie there."""
        return int(row.count)

    @display(description="stored", ordering="total")
    def stored(self, row: Any) -> str:
        """With its unit."""
        return size(row.total or 0)

    @display(description="checked", ordering="checked_at")
    def checked(self, row: Storage) -> Any:
        """When it was last tried."""
        return moment(row.checked_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A storage's page."""
        row = self.find(request, object_id)
        return self.page(request, "backups/admin/storage.html", title=row.name, obj=row)

    @method_decorator(sensitive_post_parameters("secret"))
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Add one: it is tried, or refused with the reason."""
        require(request, "backups.add_storage")

        def perform(data: dict[str, Any]) -> HttpResponse:
            data["prefix"] = data.pop("key_prefix")
            options = storages.LOCAL_OPTIONS if data["kind"] == "local" else storages.S3_OPTIONS
            every = {*storages.LOCAL_OPTIONS, *storages.S3_OPTIONS}
            row = storages.create_storage(
                config={name: data[name] for name in options},
                **{name: value for name, value in data.items() if name not in every},
                actor=actor_of(request), source=source_of(request),
            )  # fmt: skip
            messages.success(request, f"The storage {row} works and takes backups.")
            return HttpResponseRedirect(reverse("admin:backups_storage_change", args=[row.pk]))

        return form_page(
            self, request, NewStorageForm, perform, title="Add storage", submit="Try and add",
            error_fields={"name_taken": "name"},
            intro="Something is written, read back, listed and removed now; nothing is kept when that fails.",
        )  # fmt: skip

    @method_decorator(sensitive_post_parameters("secret"))
    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change its limits, its lock, its key."""
        require(request, "backups.change_storage")
        row = self.find(request, object_id)
        initial = {name: getattr(row, name) for name in storages.EDITABLE}
        initial["access_key_id"] = row.config.get("access_key_id", "")

        def perform(data: dict[str, Any]) -> HttpResponse:
            secret = data.pop("secret")
            if row.kind == Storage.Kind.LOCAL:
                data.pop("access_key_id")
            storages.update_storage(
                storage=row, changes=data, secret=secret, actor=actor_of(request), source=source_of(request)
            )
            messages.success(request, f"The storage {row} is saved.")
            return HttpResponseRedirect(reverse("admin:backups_storage_change", args=[row.pk]))

        return form_page(
            self, request, ChangeStorageForm, perform, title="Change storage", submit="Save", obj=row, initial=initial
        )

    def test_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Try it now."""
        require(request, "backups.test_storage")
        row = self.find(request, object_id)
        if request.method == "POST":
            try:
                tried = storages.check_storage(storage=row, actor=actor_of(request), source=source_of(request))
            except ControlPlaneError as error:
                messages.error(request, str(error))
            else:
                lock = {True: " Its lock holds.", False: "", None: ""}[tried.lock_holds]
                text = f"Written in {tried.write_seconds:.2f} s, read in {tried.read_seconds:.2f} s.{lock}"
                messages.success(request, text)
        return HttpResponseRedirect(reverse("admin:backups_storage_change", args=[row.pk]))
