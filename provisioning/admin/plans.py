"""Plans: changed here, applied to the live logins of their tenants by workers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from provisioning import services
from provisioning.admin import limits
from tenants import plans
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.models import Operation, Plan, Tenant, Tier
from tenants.models.plans import LIMITS


class PlanForm(PageForm):
    """All of a plan but its slug."""

    name = forms.CharField(max_length=80)
    is_default = forms.BooleanField(required=False, label="The default for new tenants")
    isolation_tier = forms.ChoiceField(
        choices=Tier.choices,
        initial=Tier.SCHEMA,
        help_text="What its tenants have for themselves. It cannot be changed while there are any.",
    )
    connection_limit = limits.field("connection_limit", required=True)
    pool_size = limits.field("pool_size", required=True, help_text="Server connections of a login behind the pooler.")
    client_limit = limits.field("client_limit", required=True, help_text="Client connections of a login there.")
    statement_timeout_ms = limits.field("statement_timeout_ms", required=True)
    idle_in_transaction_timeout_ms = limits.field("idle_in_transaction_timeout_ms", required=True)
    lock_timeout_ms = limits.field("lock_timeout_ms", required=True)
    temp_file_limit_kb = limits.field("temp_file_limit_kb", required=True)
    storage_quota_bytes = limits.field("storage_quota_bytes", required=True)
    rotation_max_age_days = limits.field(
        "rotation_max_age_days", required=True, help_text="A login is rotated by itself before it is older; 0: never."
    )
    rotation_jitter_days = forms.IntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(365)],
        help_text="How much earlier at most, so that not all are rotated at once.",
    )
    rotation_overlap_minutes = forms.IntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(43_200)],
        help_text="How long the old login works at least after a rotation.",
    )
    rotation_deadline_days = forms.IntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="After that, an old login that is still used, or whose successor nobody has collected, is closed.",
    )
    on_violation = forms.ChoiceField(
        choices=Plan.OnViolation.choices, required=False, label="On a violation of isolation",
        help_text="What happens to a tenant whose logins are found to reach what is not its own.",
    )  # fmt: skip
    purge_needs_approval = forms.BooleanField(
        required=False, label="A purge needs a second person", help_text="Whatever PURGE_NEEDS_APPROVAL says."
    )
    grace_days = forms.IntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(365)], help_text="From deletion to purge."
    )


class NewPlanForm(PlanForm):
    """A plan's slug is chosen once."""

    slug = forms.SlugField(max_length=40, help_text="What the REST interface calls it; cannot be changed later.")
    field_order = ("slug", "name")


def _initial(plan: Plan) -> dict[str, Any]:
    values = {name: getattr(plan, name) for name in plans.EDITABLE}
    return {**values, **limits.to_form(plan.limits())}


def _values(data: dict[str, Any], stored: dict[str, int]) -> dict[str, Any]:
    return {**data, **limits.from_form(data, stored)}


@admin.register(Plan)
class PlanAdmin(ControlPlaneAdmin):
    """What tenants may use."""

    empty_hint = "Add a plan, or run manage.py bootstrap for the usual ones."
    list_display = (
        "name",
        "slug",
        "is_default",
        "isolation_tier",
        "connections",
        "statement",
        "storage",
        "grace_days",
        "tenant_count",
    )
    actions = None
    search_fields = ("name", "slug")

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing has a page of its own."""
        return [("<int:object_id>/edit/", self.edit_view, "edit")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """With the number of tenants on it."""
        living = ~Q(tenants__state=Tenant.State.PURGED)
        return super().get_queryset(request).annotate(living=Count("tenants", filter=living))

    @display(description="connections", ordering="connection_limit")
    def connections(self, plan: Plan) -> int:
        """At the same time."""
        return plan.connection_limit

    @display(description="statement timeout", ordering="statement_timeout_ms")
    def statement(self, plan: Plan) -> str:
        """With its unit."""
        return limits.show("statement_timeout_ms", plan.statement_timeout_ms)

    @display(description="storage", ordering="storage_quota_bytes")
    def storage(self, plan: Plan) -> str:
        """With its unit."""
        return limits.show("storage_quota_bytes", plan.storage_quota_bytes)

    @display(description="tenants", ordering="living")
    def tenant_count(self, plan: Any) -> int:
        """Those that are not purged."""
        return int(plan.living)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A plan's page."""
        plan = self.find(request, object_id)
        rows = [(limits.label(name), limits.show(name, value)) for name, value in plan.limits().items()]
        return self.page(
            request, "provisioning/admin/plan.html", title=plan.name, obj=plan, limits=rows, tenant_count=plan.living
        )

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A new plan."""
        require(request, "tenants.add_plan")

        def perform(data: dict[str, Any]) -> HttpResponse:
            plan = plans.create_plan(**_values(data, {}), actor=actor_of(request), source=source_of(request))
            messages.success(request, f"The plan {plan} exists.")
            return HttpResponseRedirect(_page_of(plan))

        return form_page(
            self, request, NewPlanForm, perform, title="Add plan", submit="Add the plan", initial=_initial(Plan()),
            error_fields={"slug_taken": "slug"},
        )  # fmt: skip

    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change a plan, and with it the limits of every tenant on it."""
        require(request, "tenants.change_plan")
        plan = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            before = plan.limits()
            caller: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
            changed = plans.update_plan(plan=plan, changes=_values(data, before), **caller)
            started = services.apply_plan(plan=changed, **caller) if changed.limits() != before else []
            messages.success(request, _told(changed, started))
            return HttpResponseRedirect(_page_of(plan))

        return form_page(
            self, request, PlanForm, perform, title="Change plan", submit="Save and apply", obj=plan,
            initial=_initial(plan), lines=_consequences(plan), error_fields={"plan_in_use": "isolation_tier"},
        )  # fmt: skip


def _consequences(plan: Any) -> list[str]:
    named = ", ".join(limits.label(name).lower() for name in LIMITS)
    return [
        f"{plan.living} tenant{'s are' if plan.living != 1 else ' is'} on this plan.",
        f"New limits ({named}) reach their logins at once; open sessions keep the timeouts they began with.",
        "Where a tenant has a limit of its own, that one stays.",
    ]


def _told(plan: Plan, started: list[Operation]) -> str:
    if not started:
        return f"The plan {plan} is saved."
    return f"The plan {plan} is saved; {len(started)} operation{'s' * (len(started) != 1)} apply it to its tenants."


def _page_of(plan: Plan) -> str:
    return reverse("admin:tenants_plan_change", args=[plan.pk])
