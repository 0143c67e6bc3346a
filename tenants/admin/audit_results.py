"""What verifications found, and what people have signed off."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from tenants import audit, tasks
from tenants.admin.audit_forms import ReviewForm, VerifyForm
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import duration, moment
from tenants.admin.forms import form_page
from tenants.callers import actor_of, source_of
from tenants.ledger import review, status
from tenants.models import AuditReview, AuditSeal, AuditVerification

VERIFICATIONS = "admin:tenants_auditverification_changelist"


@admin.register(AuditVerification)
class AuditVerificationAdmin(ReadOnlyAdmin):
    """Each time the log was verified, and what came of it."""

    empty_hint = "Beat verifies what is new every five minutes, and all of it each night."
    list_display = ("when", "result", "scope", "events", "checkpoints", "took", "first_finding", "actor_label")
    list_filter = ("ok", "full")

    def pages(self) -> list[tuple[str, View, str]]:
        """Verifying now."""
        return [("now/", self.now_view, "now")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """With how the log is doing on top."""
        found = {"log_status": status.status()} if self.has_view_permission(request) else {}
        return super().changelist_view(request, {**(extra_context or {}), **found})

    change_list_template = "tenants/admin/audit_verifications.html"

    @display(description="finished", ordering="id")
    def when(self, row: AuditVerification) -> Any:
        """How long ago."""
        return moment(row.finished_at)

    @display(description="result", label={"holds": "success", "tampered": "danger"})
    def result(self, row: AuditVerification) -> str:
        """In its colour."""
        return "holds" if row.ok else "tampered"

    @display(description="seals")
    def scope(self, row: AuditVerification) -> str:
        """From where to where."""
        return f"{row.from_seq + 1} to {row.to_seq}{' (all)' if row.full else ''}" if row.events else "nothing new"

    @display(description="took")
    def took(self, row: AuditVerification) -> str:
        """How long."""
        return duration(row.seconds)

    @display(description="first finding")
    def first_finding(self, row: AuditVerification) -> str:
        """What is wrong."""
        return row.findings[0]["message"] if row.findings else ""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything one found."""
        row = self.find(request, object_id)
        return self.page(request, "tenants/admin/audit_verification.html", title="Verification", obj=row)

    def now_view(self, request: HttpRequest) -> HttpResponse:
        """Ask a worker to verify all of the log."""
        require(request, "tenants.run_auditverification")

        def perform(_: dict[str, Any]) -> HttpResponse:
            audit.record("audit.verify_request", actor=actor_of(request), source=source_of(request))
            tasks.verify_whole_audit_log.apply_async(retry=False)
            messages.success(request, "A worker verifies the log; what it finds appears here.")
            return HttpResponseRedirect(reverse(VERIFICATIONS))

        return form_page(
            self, request, VerifyForm, perform, title="Verify the audit log", submit="Verify all of it",
            intro="A worker reads every event and every seal, and compares them with what was signed. "
                  "It takes about a minute for a million events.",
        )  # fmt: skip


@admin.register(AuditReview)
class AuditReviewAdmin(ReadOnlyAdmin):
    """What was read, by whom, and what they said of it."""

    empty_hint = "Auditors sign off what they have read, with a note."
    list_display = ("when", "reviewer_label", "from_seq", "to_seq", "note")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """By who may sign off."""
        return bool(request.user.has_perm("tenants.add_auditreview"))

    @display(description="signed off", ordering="id")
    def when(self, row: AuditReview) -> Any:
        """How long ago."""
        return moment(row.at)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Sign off a range: from what nobody has, to the end, unless it is said otherwise."""
        require(request, "tenants.add_auditreview")
        end = AuditSeal.objects.order_by("-seq").values_list("seq", flat=True).first() or 0

        def perform(data: dict[str, Any]) -> HttpResponse:
            done = review.sign_off(**data, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"Signed off: {done.from_seq} to {done.to_seq}.")
            return HttpResponseRedirect(reverse("admin:tenants_auditreview_changelist"))

        return form_page(
            self, request, ReviewForm, perform, title="Sign off what was reviewed", submit="Sign off",
            initial={"from_seq": review.next_to_review(), "to_seq": max(end, 1)},
            intro=f"The log has {end:,} seals; the first that nobody has signed off is {review.next_to_review():,}. "
                  "What you sign stands in the log itself, with the chain's hash at its end.",
        )  # fmt: skip
