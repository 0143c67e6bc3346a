"""Rules: changed with a look at whom they would fire for now, silenced, reset to how they were delivered."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from monitoring.admin.alerts import runbook_link
from monitoring.admin.common import SEVERITIES, SILENCES, until_of
from monitoring.alerts import represent, rules
from monitoring.alerts.evaluate import would_fire
from monitoring.alerts.text import NAMES, figure, runbook_url
from monitoring.catalogue import METRICS
from monitoring.models import Alert, AlertRule, Severity
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.display import moment
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.management.lookup import find_tenant
from tenants.models import Cluster, Plan

SHOWN = 20
_METRICS = sorted(
    (f"{scope}.{name}", f"{scope}: {name} ({metric.unit or 'count'})") for (scope, name), metric in METRICS.items()
)


class RuleForm(PageForm):
    """Everything a rule says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cluster"].queryset = Cluster.objects.all()  # type: ignore[attr-defined]
        self.fields["plan"].queryset = Plan.objects.all()  # type: ignore[attr-defined]

    name = forms.CharField(max_length=120)
    enabled = forms.BooleanField(required=False)
    full_metric = forms.ChoiceField(choices=_METRICS, label="Metric")
    comparison = forms.ChoiceField(choices=AlertRule.Comparison.choices)
    threshold = forms.FloatField(help_text="In the metric's unit; ratios from 0 to 1.")
    clear_threshold = forms.FloatField(required=False, help_text="It ends beyond this; empty: beyond the threshold.")
    for_seconds = forms.IntegerField(min_value=0, initial=0, help_text="How long it must hold before it fires.")
    keep_firing_seconds = forms.IntegerField(min_value=0, initial=0, help_text="How long it must be over to end.")
    severity = forms.ChoiceField(choices=Severity.choices)
    cluster = forms.ModelChoiceField(Cluster.objects.none(), required=False, empty_label="all clusters")
    plan = forms.ModelChoiceField(Plan.objects.none(), required=False, empty_label="all plans")
    tenant = forms.CharField(required=False, max_length=64, help_text="A slug; empty: all tenants.")
    summary = forms.CharField(max_length=200, help_text="May name " + ", ".join(f"{{{name}}}" for name in NAMES) + ".")
    description = forms.CharField(required=False, max_length=1000)
    runbook = forms.SlugField(required=False, max_length=60)
    preview = forms.BooleanField(
        required=False, label="Preview only", help_text="Nothing is saved; you see for whom it would fire now."
    )


class NewRuleForm(RuleForm):
    """And what it is called."""

    slug = forms.SlugField(max_length=60)
    field_order = ("slug",)


@admin.register(AlertRule)
class AlertRuleAdmin(ControlPlaneAdmin):
    """What is held against which threshold."""

    list_display = (
        "name",
        "condition",
        "severity_badge",
        "enabled",
        "open_now",
        "silenced",
        "origin",
        "evaluated",
        "page_link",
    )
    list_filter = ("severity", "enabled", "scope")
    search_fields = ("name", "slug", "metric")
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing, silencing, resetting."""
        return [
            ("<int:object_id>/edit/", self.edit_view, "edit"),
            ("<int:object_id>/silence/", self.silence_view, "silence"),
            ("<int:object_id>/reset/", self.reset_view, "reset"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        """With how many alerts are open."""
        fires = Q(alerts__state__in=[Alert.State.FIRING, Alert.State.ACKNOWLEDGED])
        rows = super().get_queryset(request).select_related("cluster", "plan", "tenant")
        return rows.annotate(firing=Count("alerts", filter=fires))

    @display(description="severity", label=SEVERITIES, ordering="severity")
    def severity_badge(self, row: AlertRule) -> str:
        """In its colour."""
        return row.severity

    @display(description="fires for", ordering="firing")
    def open_now(self, row: Any) -> int:
        """How many subjects."""
        return int(row.firing)

    @display(description="silenced")
    def silenced(self, row: AlertRule) -> str:
        """Until when."""
        return f"until {row.silenced_until:%Y-%m-%d %H:%M}" if row.is_silenced(timezone.now()) else "–"

    @display(description="from")
    def origin(self, row: AlertRule) -> str:
        """The product, changed or not, or somebody here."""
        return ("product, changed" if row.edited else "product") if row.shipped else "own"

    @display(description="evaluated", ordering="evaluated_at")
    def evaluated(self, row: AlertRule) -> Any:
        """When, or why there were no figures."""
        return row.trouble or moment(row.evaluated_at)

    @display(description="runbook")
    def page_link(self, row: AlertRule) -> Any:
        """The page that says what to do."""
        return runbook_link(row.runbook)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A rule's page."""
        row = self.find(request, object_id)
        return self.page(
            request, "monitoring/admin/rule.html", title=row.name, obj=row, silences=SILENCES, firing=_firing(row),
            threshold=figure(row.threshold, represent.unit_of(row)), silenced=row.is_silenced(timezone.now()),
            metric=METRICS.get((row.scope, row.metric)), runbook=runbook_url(row.runbook),
            alerts=row.alerts.select_related("tenant", "cluster", "rule")[:SHOWN],
        )  # fmt: skip

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A rule of one's own."""
        require(request, "monitoring.add_alertrule")
        return self._form(request, AlertRule(), NewRuleForm, {"enabled": True, "severity": "warning"}, "Add a rule")

    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change a rule."""
        require(request, "monitoring.change_alertrule")
        row = self.find(request, object_id)
        initial = {name: getattr(row, name) for name in rules.EDITABLE if name not in ("scope", "metric", "tenant")}
        initial |= {"full_metric": f"{row.scope}.{row.metric}", "tenant": row.tenant.slug if row.tenant else ""}
        return self._form(request, row, RuleForm, initial, "Change a rule")

    def _form(
        self, request: HttpRequest, row: AlertRule, form_class: type[RuleForm], initial: dict[str, Any], title: str
    ) -> HttpResponse:
        shown: dict[str, Any] = {}

        def perform(data: dict[str, Any]) -> HttpResponse:
            slug, preview = data.pop("slug", ""), data.pop("preview")
            values = _values(data)
            if preview:
                trial = AlertRule(**{**values, "slug": slug or row.slug, "enabled": True})
                rules.check(trial)
                shown.update(preview=_firing(trial), count=len(would_fire(trial)))
                raise _ShowPreview
            who: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
            saved = (
                rules.update_rule(rule=row, changes=values, **who)
                if row.pk
                else rules.create_rule(slug=slug, changes=values, **who)
            )
            messages.success(request, f"The rule {saved} is saved.")
            return HttpResponseRedirect(reverse("admin:monitoring_alertrule_change", args=[saved.pk]))

        obj = row if row.pk else None
        try:
            return form_page(
                self, request, form_class, perform, title=title, submit="Save", obj=obj, initial=initial,
                error_fields={"name_taken": "slug"}, template="monitoring/admin/rule_form.html",
            )  # fmt: skip
        except _ShowPreview:
            form = form_class(request.POST)
            return self.page(
                request,
                "monitoring/admin/rule_form.html",
                title=title,
                obj=obj,
                form=form,
                submit_label="Save",
                **shown,
            )

    def silence_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Nobody is told of its alerts for a while."""
        require(request, "monitoring.silence_alertrule")
        row = self.find(request, object_id)
        if request.method == "POST":
            reason = request.POST.get("reason", "")[:500]
            try:
                rules.silence_rule(
                    rule=row, until=until_of(request), reason=reason, actor=actor_of(request), source=source_of(request)
                )
                messages.success(request, "Saved.")
            except ControlPlaneError as error:
                messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:monitoring_alertrule_change", args=[row.pk]))

    def reset_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Make it as it was delivered."""
        require(request, "monitoring.change_alertrule")
        row = self.find(request, object_id)
        if request.method == "POST":
            try:
                rules.reset_rule(rule=row, actor=actor_of(request), source=source_of(request))
                messages.success(request, f"The rule {row} is as it was delivered.")
            except ControlPlaneError as error:
                messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:monitoring_alertrule_change", args=[row.pk]))


class _ShowPreview(Exception):
    """Out of the form's `perform`, since nothing was saved."""


def _values(data: dict[str, Any]) -> dict[str, Any]:
    """What the form says, as the service takes it. Raises NotFound for an unknown tenant."""
    scope, _, metric = data.pop("full_metric").partition(".")
    tenant = find_tenant(data["tenant"]) if data["tenant"] else None
    return {**data, "scope": scope, "metric": metric, "tenant": tenant}


def _firing(rule: AlertRule) -> list[tuple[str, str]]:
    """For whom it holds now, and by how much, the worst first."""
    unit = represent.unit_of(rule)
    return [(subject.label, figure(value, unit)) for subject, value in would_fire(rule)[:SHOWN]]
