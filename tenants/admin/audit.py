"""The audit log, to read: the list and its filters, one event, trails, exports, kept filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString

from tenants.admin.audit_forms import AuditFilterForm, given
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import badge
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.ledger import export, review
from tenants.models import AuditCheckpoint, AuditEvent, AuditFilter, AuditReview, AuditVerification, Operation, Tenant
from tenants.recent import ask_first

LIST = "admin:tenants_auditevent_changelist"
# Written by one call each: a template's tags took ten times as long for fifty of them.
_ROW = (
    '<tr><td><a class="cp-link" href="{}{}/change/">{}</a></td><td>{}</td><td>{}</td>'
    '<td>{} <span class="cp-quiet">{}</span></td><td>{} <span class="cp-quiet">{}</span></td>'
    "<td>{}</td><td>{}</td><td>{}</td></tr>"
)
_LINK = '<a class="cp-link" href="{}?{}">{}</a>'


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what, on what, from where. Nothing here can be changed, not even by the database's own login."""

    def pages(self) -> list[tuple[str, View, str]]:
        """Trails, exports and kept filters."""
        return [
            ("trail/", self.trail_view, "trail"),
            ("export/", self.export_view, "export"),
            ("keep/", self.keep_view, "keep"),
            ("forget/<int:filter_id>/", self.forget_view, "forget"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """A page of the log, newest first. Its size is estimated: counting would read all of it."""
        self._require(request)
        chosen = given(request.GET)
        form = AuditFilterForm(chosen)
        page, problem = None, ""
        if form.is_valid():
            try:
                page = review.page(form.events, cursor=request.GET.get("cursor", ""))
            except ControlPlaneError as error:
                problem = str(error)
        query = urlencode(chosen)
        return self.page(
            request,
            "tenants/admin/audit_log.html",
            title="Audit events",
            form=form,
            found=page,
            rows=_rows(page.events) if page else "",
            problem=problem,
            query=query,
            chosen=chosen,
            filters=AuditFilter.objects.filter(owner_id=request.user.pk),
            verification=AuditVerification.objects.order_by("-id").first(),
            reviewed=AuditReview.objects.order_by("-to_seq").first(),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One event: what changed, and its place in the chain."""
        event = self.find(request, object_id)
        seal = review.seal_of(event)
        signed = AuditCheckpoint.objects.filter(seq__gte=seal.seq).order_by("seq").first() if seal else None
        return self.page(
            request,
            "tenants/admin/audit_event.html",
            title=str(event),
            obj=event,
            differences=review.difference(event),
            seal=seal,
            seal_hash=bytes(seal.hash).hex() if seal else "",
            signed=signed,
            reviews=review.covering(seal.seq) if seal else [],
            tenant_exists=bool(event.tenant_id) and Tenant.objects.filter(pk=event.tenant_id).exists(),
        )

    def trail_view(self, request: HttpRequest) -> HttpResponse:
        """Everything one request led to, across admin, REST, workers and commands; or everything about one tenant."""
        self._require(request)
        chosen = {name: text for name, text in given(request.GET).items() if name in ("request_id", "tenant", "target")}
        form = AuditFilterForm(chosen)
        if not chosen or not form.is_valid():
            messages.error(request, "A trail is that of a request, a tenant or a target.")
            return HttpResponseRedirect(reverse(LIST))
        try:
            page = review.page(form.events, cursor=request.GET.get("cursor", ""))
        except ControlPlaneError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse(LIST))
        # A request is read from its beginning, a tenant from its present.
        forwards = "request_id" in chosen
        events = page.events[::-1] if forwards else page.events
        operations: Any = Operation.objects.none()
        if forwards and request.user.has_perm("tenants.view_operation"):
            operations = Operation.objects.filter(request_id=chosen["request_id"]).order_by("created_at")[:20]
        return self.page(
            request,
            "tenants/admin/audit_trail.html",
            title="Trail",
            found=page,
            steps=[(event, [one for one in review.difference(event) if one.kind != "same"]) for event in events],
            operations=operations,
            query=urlencode(chosen),
            chosen=chosen,
            subject=self._subject(chosen, form),
        )

    def _subject(self, chosen: dict[str, str], form: AuditFilterForm) -> str:
        if "tenant" in chosen:
            row = Tenant.objects.filter(pk=form.cleaned_data["tenant"]).first()
            return f"tenant {row.slug if row else chosen['tenant']}"
        return f"request {chosen['request_id']}" if "request_id" in chosen else f"target {chosen['target']}"

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """What the filter shows, as a file."""
        self._require(request)
        if asked := ask_first(request):
            return asked
        form = AuditFilterForm(given(request.GET))
        if not form.is_valid():
            return HttpResponseRedirect(f"{reverse(LIST)}?{request.GET.urlencode()}")
        kind = request.GET.get("as", "jsonl")
        actor, source = actor_of(request), source_of(request)
        try:
            lines = export.export(form.events, kind=kind, described=form.chosen(), actor=actor, source=source)
        except ControlPlaneError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse(LIST))
        return export.response(lines, kind)  # type: ignore[return-value]

    def keep_view(self, request: HttpRequest) -> HttpResponse:
        """Keep the filter under a name, for oneself."""
        self._require(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        query = request.POST.get("query", "")
        try:
            kept = review.save_filter(owner=request.user, name=request.POST.get("name", ""), query=query)
            messages.success(request, f"“{kept.name}” is kept.")
        except (ControlPlaneError, ValidationError) as error:
            messages.error(request, str(error))
        return self._back(request, query)

    def forget_view(self, request: HttpRequest, filter_id: int) -> HttpResponse:
        """Forget one of one's own filters."""
        self._require(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        AuditFilter.objects.filter(pk=filter_id, owner_id=request.user.pk).delete()
        return self._back(request, request.POST.get("query", ""))

    def _back(self, request: HttpRequest, query: str) -> HttpResponse:
        url = f"{reverse(LIST)}?{query}"
        safe = url_has_allowed_host_and_scheme(url, allowed_hosts=None) and "\n" not in url and "\r" not in url
        return HttpResponseRedirect(url if safe else reverse(LIST))

    def _require(self, request: HttpRequest) -> None:
        require(request, "tenants.view_auditevent")


def _rows(events: Sequence[AuditEvent]) -> SafeString:
    """The rows of the list."""
    own, trail = reverse(LIST), reverse("admin:tenants_auditevent_trail")
    return format_html_join("\n", _ROW, (_cells(event, own, trail) for event in events))


def _cells(event: AuditEvent, own: str, trail: str) -> tuple[Any, ...]:
    tenant, request, target = "–", "", ""
    if event.tenant_id:
        tenant = format_html(_LINK, trail, urlencode({"tenant": event.tenant_id}), event.tenant_slug)
    if event.request_id:
        request = format_html(_LINK, trail, urlencode({"request_id": event.request_id}), event.request_id[:12])
    if event.target_type not in ("", "tenant"):
        target = f"{event.target_type} {event.target_label[:40]}"
    who = (event.actor_label, event.actor_kind, event.channel, event.ip or "")
    return (
        own,
        event.pk,
        f"{event.at:%Y-%m-%d %H:%M:%S}",
        event.action,
        badge(event.outcome),
        *who,
        tenant,
        target,
        request,
    )
