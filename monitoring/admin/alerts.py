"""Alerts: what fires, what became of it, and the buttons of whoever looks after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display

from monitoring.admin.common import SEVERITIES, SILENCES, STATES, until_of
from monitoring.alerts import handling, represent
from monitoring.alerts.text import figure, runbook_url
from monitoring.models import Alert
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import link_to, moment
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError

State = Alert.State


class StateFilter(admin.SimpleListFilter):
    """What fires or is acknowledged, unless another state is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Each state, and all."""
        return [*State.choices, ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        """The choice of nothing is what fires."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "firing and acknowledged"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        """By state."""
        if self.value() == "all":
            return queryset
        return queryset.filter(state__in=[self.value()] if self.value() else [State.FIRING, State.ACKNOWLEDGED])


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What rules have found, the most urgent first."""

    empty_hint = "Nothing fires."
    list_display = ("text", "severity_badge", "state_badge", "about", "shown_value", "since", "known", "runbook")
    list_display_links = ("text",)
    list_filter = (StateFilter, "severity", "cluster")
    list_select_related = ("rule", "tenant", "cluster")
    search_fields = ("summary", "=rule__slug", "^subject_label")

    def pages(self) -> list[tuple[str, View, str]]:
        """What the buttons do."""
        return [
            ("<int:object_id>/acknowledge/", self.acknowledge_view, "acknowledge"),
            ("<int:object_id>/silence/", self.silence_view, "silence"),
        ]

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """Critical ones first, then the newest."""
        ranks = [When(severity=name, then=Value(rank)) for rank, name in enumerate(("critical", "warning", "info"))]
        return [Case(*ranks, output_field=IntegerField()).asc(), "-created_at", "-id"]

    @display(description="alert")
    def text(self, row: Alert) -> str:
        """What it says."""
        return row.summary or row.rule.name

    @display(description="severity", label=SEVERITIES)
    def severity_badge(self, row: Alert) -> str:
        """In its colour."""
        return row.severity

    @display(description="state", label=STATES)
    def state_badge(self, row: Alert) -> str:
        """In its colour; of which nobody is told, silenced."""
        silenced = row.state == State.FIRING and row.is_silenced(timezone.now())
        return "silenced" if silenced else row.state

    @display(description="about")
    def about(self, row: Alert) -> Any:
        """The tenant or cluster."""
        target = row.tenant or row.cluster
        return link_to(target) if target else row.subject_label

    @display(description="value")
    def shown_value(self, row: Alert) -> str:
        """With its unit."""
        return figure(row.value, represent.unit_of(row.rule))

    @display(description="since", ordering="fired_at")
    def since(self, row: Alert) -> Any:
        """When it began to fire."""
        return moment(row.fired_at or row.held_since)

    @display(description="measured")
    def known(self, row: Alert) -> Any:
        """When, or since when it is not any more."""
        return _no_data(row) if row.no_data_since else moment(row.seen_at)

    @display(description="runbook")
    def runbook(self, row: Alert) -> Any:
        """The page that says what to do."""
        return runbook_link(row.rule.runbook)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """An alert's page."""
        row = self.find(request, object_id)
        return self.page(
            request, "monitoring/admin/alert.html", title=row.summary or str(row), obj=row,
            value=figure(row.value, represent.unit_of(row.rule)), silenced=row.is_silenced(timezone.now()),
            silences=SILENCES, runbook=runbook_url(row.rule.runbook), is_open=row.state in Alert.OPEN,
            history=row.transitions.all(), no_data=_no_data(row) if row.no_data_since else "",
            deliveries=row.deliveries.select_related("channel", "notification"),
        )  # fmt: skip

    def acknowledge_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Somebody looks after it."""
        require(request, "monitoring.acknowledge_alert")
        note = forms.CharField(required=False, max_length=500).clean(request.POST.get("note", ""))
        return self._act(
            request, object_id, lambda row, who: handling.acknowledge(alert=row, note=note, **who), "Acknowledged."
        )

    def silence_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Nobody is told of it for a while."""
        require(request, "monitoring.silence_alertrule")

        def silence(row: Alert, who: dict[str, Any]) -> None:
            handling.silence_alert(alert=row, until=until_of(request), **who)

        return self._act(request, object_id, silence, "Saved.")

    def _act(
        self, request: HttpRequest, object_id: int, act: Callable[[Alert, dict[str, Any]], Any], done: str
    ) -> HttpResponse:
        row = self.find(request, object_id)
        if request.method == "POST":
            try:
                act(row, {"actor": actor_of(request), "source": source_of(request)})
                messages.success(request, done)
            except ControlPlaneError as error:
                messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:monitoring_alert_change", args=[row.pk]))


def _no_data(row: Alert) -> Any:
    return format_html("no data since {}", moment(row.no_data_since))


def runbook_link(slug: str) -> Any:
    """A link to a runbook; a dash for none."""
    return format_html('<a class="cp-link" href="{}">{}</a>', runbook_url(slug), slug) if slug else "–"
