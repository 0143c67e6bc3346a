"""Operations: a list, a page with live steps, cancel and try again."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from tenants import operations
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import STATE_LABELS, duration, link_to, moment
from tenants.admin.forms import PageForm, ReasonForm, form_page
from tenants.callers import actor_of, source_of
from tenants.models import Operation, OperationStep
from tenants.models.operations import OPEN_STATES

# Trying one of these again is doing it: that needs the permission for the act itself, too.


class FinishedFilter(admin.SimpleListFilter):
    """How long ago operations ended."""

    title = "finished"
    parameter_name = "finished"
    _SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Three spans, and not yet."""
        return [("no", "not yet"), *((span, f"in the last {span}") for span in self._SPANS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        """Operations that ended within the chosen span."""
        if self.value() == "no":
            return queryset.filter(state__in=OPEN_STATES)
        if span := self._SPANS.get(self.value() or ""):
            return queryset.filter(finished_at__gte=timezone.now() - span)
        return queryset


def steps_of(operation: Operation) -> list[OperationStep]:
    """An operation's steps in the order they were begun."""
    return sorted(operation.steps.all(), key=lambda step: step.pk)


def progress_context(request: HttpRequest, operation: Operation) -> dict[str, Any]:
    """What the live part of an operation's page shows, and a digest of it by which a poll sees that it is new."""
    steps = steps_of(operation)
    seen = [operation.state, operation.progress, operation.attempt, str(operation.error), str(operation.result)]
    seen += [f"{step.name}{step.state}{step.attempt}" for step in steps]
    user = request.user
    return {
        "object": operation,
        "steps": steps,
        "seen": hashlib.sha256("|".join(map(str, seen)).encode()).hexdigest()[:16],
        "may_cancel": operations.cancellable(operation) and user.has_perm("tenants.cancel_operation"),
        "may_retry": operations.retryable(operation) and may_retry(request, operation),
        "may_collect": (
            operation.state == Operation.State.SUCCEEDED
            and operation.result.get("credentials") == "uncollected"
            and user.has_perm("tenants.collect_credentials")
        ),
    }


def may_retry(request: HttpRequest, operation: Operation) -> bool:
    """Whether the signed-in person may have this done again."""
    workflow = operations.needed_to_retry(operation)
    also = [workflow.permission] if workflow and workflow.permission else []
    return request.user.has_perms(["tenants.retry_operation", *also])


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """What is being done and was done."""

    empty_hint = "Operations appear when tenants are provisioned, suspended, deleted and so on."
    list_display = ("kind", "state_badge", "tenant_link", "cluster", "progress_text", "began", "took", "who")
    list_filter = ("state", FinishedFilter, "kind", "cluster", "channel")
    list_select_related = ("tenant", "cluster")
    search_fields = ("^tenant__slug", "=id", "=request_id", "^actor_label")
    search_help_text = "Tenant, actor, operation or request id"

    def pages(self) -> list[tuple[str, View, str]]:
        """The polled part, and the two acts."""
        return [
            ("<uuid:object_id>/progress/", self.progress_view, "progress"),
            ("<uuid:object_id>/cancel/", self.cancel_view, "cancel"),
            ("<uuid:object_id>/retry/", self.retry_view, "retry"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operation]:
        """With what the page links to."""
        return super().get_queryset(request).select_related("tenant", "cluster", "retry_of")

    @display(description="state", label=STATE_LABELS, ordering="state")
    def state_badge(self, operation: Operation) -> str:
        """In its colour."""
        return operation.state

    @display(description="tenant", ordering="tenant__slug")
    def tenant_link(self, operation: Operation) -> Any:
        """The tenant it is about."""
        return link_to(operation.tenant)

    @display(description="progress")
    def progress_text(self, operation: Operation) -> str:
        """Per cent."""
        return f"{operation.progress} %"

    @display(description="created", ordering="created_at")
    def began(self, operation: Operation) -> Any:
        """How long ago it was asked for."""
        return moment(operation.created_at)

    @display(description="took")
    def took(self, operation: Operation) -> str:
        """How long it ran, or has run so far."""
        return duration(operation.seconds)

    @display(description="by", ordering="actor_label")
    def who(self, operation: Operation) -> str:
        """Who asked for it."""
        return operation.actor_label

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The operation's page."""
        operation = self.find(request, object_id)
        context = progress_context(request, operation)
        return self.page(
            request, "tenants/admin/operation.html", title=operation.kind, obj=operation,
            retries=operation.retries.all(), **{key: context[key] for key in context if key != "object"},
        )  # fmt: skip

    def progress_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """The live part alone: 204 as long as nothing is new, so that nothing flickers or is read out again."""
        operation = self.find(request, object_id)
        if "reload" in request.GET and not operation.is_open:
            return HttpResponse(headers={"HX-Refresh": "true"})  # the page around it has changed too
        context = {**progress_context(request, operation), "reload": "reload" in request.GET}
        if request.GET.get("seen") == context["seen"]:
            return HttpResponse(status=204)
        return render(request, "tenants/admin/operation_progress.html", context)

    def cancel_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask, then cancel."""
        require(request, "tenants.cancel_operation")
        operation = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            operations.cancel(operation, **data, actor=actor_of(request), source=source_of(request))
            messages.success(request, "The operation is being cancelled; what it had done is undone.")
            return HttpResponseRedirect(_page_of(operation))

        return form_page(
            self, request, ReasonForm, perform, title="Cancel operation", submit="Cancel the operation", obj=operation,
            danger=True, intro="The operation stops before its next step, and what it has done so far is undone.",
        )  # fmt: skip

    def retry_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask, then start the same work as a new operation."""
        require(request, "tenants.retry_operation")
        operation = self.find(request, object_id)
        workflow = operations.needed_to_retry(operation)
        if workflow and workflow.permission:
            require(request, workflow.permission)

        def perform(data: dict[str, Any]) -> HttpResponse:
            again = operations.retry(operation, actor=actor_of(request), source=source_of(request))
            messages.success(request, "Started again, as a new operation.")
            return HttpResponseRedirect(_page_of(again))

        return form_page(
            self, request, PageForm, perform, title="Try again", submit="Try again", obj=operation,
            confirm=workflow is not None and workflow.confirmed,
            intro="The same work starts again as a new operation. This one stays as it is.",
        )  # fmt: skip


def _page_of(operation: Operation) -> str:
    return reverse("admin:tenants_operation_change", args=[operation.pk])
