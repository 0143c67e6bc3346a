"""What the proof of isolation found, and attempts at other tenants; and the button that proves it now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.decorators import display

from provisioning.isolation import check_isolation
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import link_to, moment
from tenants.callers import actor_of, source_of
from tenants.models import Cluster, IsolationAttempt, IsolationFinding

SEVERITIES = {"critical": "danger", "warning": "warning"}


class OpenFilter(admin.SimpleListFilter):
    """Open or resolved."""

    title = "open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Both."""
        return [("yes", "open"), ("no", "resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[IsolationFinding]) -> QuerySet[IsolationFinding]:
        """By whether a check still finds it."""
        if self.value() in ("yes", "no"):
            return queryset.filter(resolved_at__isnull=self.value() == "yes")
        return queryset


@admin.register(IsolationFinding)
class IsolationFindingAdmin(ReadOnlyAdmin):
    """What breaks a rule of isolation, or did."""

    empty_hint = "No check has found anything: tenants are kept apart."
    list_display = ("code", "severity_badge", "cluster", "tenant_link", "subject", "detail", "seen", "resolved")
    list_filter = (OpenFilter, "severity", "cluster")
    list_select_related = ("cluster", "tenant")
    search_fields = ("code", "subject", "=schema_name", "^tenant__slug")
    fields = (
        "code", "severity", "cluster", "tenant_link", "schema_name", "offender", "subject", "detail", "first_seen_at",
        "last_seen_at", "resolved_at",
    )  # fmt: skip
    readonly_fields = ("tenant_link",)

    def pages(self) -> list[tuple[str, View, str]]:
        """Proving a cluster now, which its page offers."""
        return [("prove/<int:cluster_id>/", self.prove_view, "prove")]

    def prove_view(self, request: HttpRequest, cluster_id: int) -> HttpResponse:
        """Prove a cluster now, and go back to its page."""
        require(request, "tenants.check_cluster")
        cluster = get_object_or_404(Cluster, pk=cluster_id)
        if request.method == "POST":
            check = check_isolation(cluster=cluster, actor=actor_of(request), source=source_of(request))
            if check.ok:
                told = f"{check.schemas} schemas, {check.probed} tried with their own login"
                messages.success(request, f"Tenants of {cluster} are kept apart: {told}.")
            else:
                messages.error(request, check.error or f"{check.critical} critical findings on {cluster}.")
        return HttpResponseRedirect(reverse("admin:tenants_cluster_change", args=[cluster.pk]))

    @display(description="severity", label=SEVERITIES, ordering="severity")
    def severity_badge(self, row: IsolationFinding) -> str:
        """In its colour."""
        return row.severity

    @display(description="tenant")
    def tenant_link(self, row: IsolationFinding) -> Any:
        """Whose schema it is in."""
        return link_to(row.tenant)

    @display(description="first seen", ordering="first_seen_at")
    def seen(self, row: IsolationFinding) -> Any:
        """How long ago."""
        return moment(row.first_seen_at)

    @display(description="resolved", ordering="resolved_at")
    def resolved(self, row: IsolationFinding) -> Any:
        """How long ago, when it is."""
        return moment(row.resolved_at) if row.resolved_at else "–"


@admin.register(IsolationAttempt)
class IsolationAttemptAdmin(ReadOnlyAdmin):
    """Who tried to get at what is not theirs."""

    empty_hint = "Nobody has tried; a cluster's page says whether its log is watched."
    list_display = ("kind", "who", "target_name", "statement", "address", "count", "last")
    list_filter = ("kind", "cluster")
    list_select_related = ("cluster", "attacker", "target")
    search_fields = ("=login", "=target_name", "^attacker__slug", "^target__slug", "=address")
    fields = (
        "kind", "cluster", "who", "login", "whom", "target_name", "statement", "address", "count", "first_at",
        "last_at",
    )  # fmt: skip
    readonly_fields = ("who", "whom")

    @display(description="by")
    def who(self, row: IsolationAttempt) -> Any:
        """The tenant; a wrong password has none."""
        return link_to(row.attacker) if row.attacker else row.login or "not logged in"

    @display(description="at")
    def whom(self, row: IsolationAttempt) -> Any:
        """The tenant aimed at."""
        return link_to(row.target)

    @display(description="last", ordering="last_at")
    def last(self, row: IsolationAttempt) -> Any:
        """How long ago."""
        return moment(row.last_at)
