"""Policies: changed here, with a look at what they would keep of real backups."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from backups.models import BackupPolicy, Storage
from backups.models.policies import FLAGS, NUMBERS, TEXTS, VALUES
from backups.policy import Policy
from backups.services import history, policies
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError, InvalidInput
from tenants.management.lookup import find_tenant
from tenants.models import Plan


def _field(name: str) -> forms.Field:
    column: Any = BackupPolicy._meta.get_field(name)
    if name in FLAGS:
        return forms.BooleanField(required=False, help_text=column.help_text)
    if name in NUMBERS:
        low, high = NUMBERS[name]
        return forms.IntegerField(min_value=low, max_value=high, help_text=column.help_text)
    return forms.CharField(max_length=column.max_length, help_text=column.help_text)


class PolicyForm(PageForm):
    """Everything a policy says, and a tenant to try it on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("storage", "copies"):
            self.fields[name].queryset = Storage.objects.all()  # type: ignore[attr-defined]

    storage = forms.ModelChoiceField(Storage.objects.none(), required=False, empty_label="the default one")
    copies = forms.ModelMultipleChoiceField(
        Storage.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label="Copied to as well"
    )
    preview = forms.CharField(
        required=False, max_length=64, label="Preview with tenant",
        help_text="A slug: nothing is saved, and you see which of its real backups this would keep.",
    )  # fmt: skip


_VALUES = {name: _field(name) for name in ("enabled", *TEXTS, *FLAGS[1:], *NUMBERS)}
PolicyForm.base_fields = {**_VALUES, **PolicyForm.base_fields}


@admin.register(BackupPolicy)
class BackupPolicyAdmin(ControlPlaneAdmin):
    """What is promised to the tenants of each plan."""

    list_display = ("name", "enabled", "schedule", "time_zone", "kept", "drill_every_days", "alert_after_hours")
    list_display_links = ("name",)
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing has a page of its own, for plans that have no policy yet as well."""
        return [
            ("<int:object_id>/edit/", self.edit_view, "edit"),
            ("of-plan/<int:plan_id>/", self.plan_view, "of_plan"),
            ("<int:object_id>/drop/", self.drop_view, "drop"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackupPolicy]:
        """With their plans."""
        return super().get_queryset(request).select_related("plan", "storage")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """One is made from its plan's page."""
        return False

    @display(description="plan")
    def name(self, row: BackupPolicy) -> str:
        """Whose it is."""
        return str(row)

    @display(description="kept: last, days, weeks, months, years")
    def kept(self, row: BackupPolicy) -> str:
        """In one line."""
        numbers = (row.keep_last, row.keep_daily, row.keep_weekly, row.keep_monthly, row.keep_yearly)
        return " · ".join(map(str, numbers))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A policy's page."""
        row = self.find(request, object_id)
        facts = [(_label(name), getattr(row, name), row._meta.get_field(name).help_text) for name in VALUES]
        covered = [row.plan] if row.plan else list(Plan.objects.filter(backup_policy__isnull=True))
        return self.page(
            request, "backups/admin/policy.html", title=f"Backups of {row}", obj=row, facts=facts, covered=covered,
            others=Plan.objects.filter(backup_policy__isnull=True) if row.plan is None else (),
        )  # fmt: skip

    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change a policy."""
        row = self.find(request, object_id)
        return self._edit(request, row, row.plan)

    def plan_view(self, request: HttpRequest, plan_id: int) -> HttpResponse:
        """Give a plan a policy of its own, beginning with what holds for it now."""
        plan = Plan.objects.get(pk=plan_id)
        row = BackupPolicy.objects.filter(plan=plan).first() or BackupPolicy.objects.get(plan=None)
        return self._edit(request, row, plan)

    def drop_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Let a plan follow the general policy again."""
        require(request, "backups.change_backuppolicy")
        row = self.find(request, object_id)
        if request.method == "POST" and row.plan is not None:
            policies.drop_policy(plan=row.plan, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"The plan {row.plan} follows the policy of all other plans.")
        return HttpResponseRedirect(reverse("admin:backups_backuppolicy_changelist"))

    def _edit(self, request: HttpRequest, row: BackupPolicy, plan: Plan | None) -> HttpResponse:
        require(request, "backups.change_backuppolicy")
        shown: dict[str, Any] = {}

        def perform(data: dict[str, Any]) -> HttpResponse:
            values = {name: data[name] for name in VALUES}
            if data["preview"]:
                shown.update(_preview(data["preview"], values))
                raise _ShowPreview
            changed = policies.set_policy(
                plan=plan, changes=values, storage=data["storage"], copies=data["copies"], actor=actor_of(request),
                source=source_of(request),
            )  # fmt: skip
            messages.success(request, "The policy is saved; its tenants get new times at the scheduler's next look.")
            return HttpResponseRedirect(reverse("admin:backups_backuppolicy_change", args=[changed.pk]))

        initial = {**row.values(), "storage": row.storage_id, "copies": list(row.copies.values_list("pk", flat=True))}
        return form_page(
            self, request, PolicyForm, perform, title=f"Backups of {plan or 'all other plans'}", obj=row,
            submit="Save or preview", initial=initial, template="backups/admin/policy_form.html", shown=shown,
        )  # fmt: skip


class _ShowPreview(ControlPlaneError):
    """Nothing was saved: below is what this policy would keep."""

    code, status = "invalid", 400


def _preview(text: str, values: dict[str, Any]) -> dict[str, Any]:
    try:
        tenant = find_tenant(text)
    except ControlPlaneError as error:
        raise InvalidInput(str(error), field="preview") from error
    policy = policies.check_values(values, base=Policy())
    lines = history.preview(tenant, policy)
    return {"tenant": tenant, "lines": lines, "kept": sum(bool(why) for _, why in lines)}


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
