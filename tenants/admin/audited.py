"""Django's own editing, under audit."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

from tenants import audit
from tenants.callers import actor_of, source_of
from tenants.recent import ask_first


class AuditedAdmin(ModelAdmin):
    """Django's own editing, for what has no service of ours, with an audit event in the same transaction."""

    kind = ""
    # Whether a change asks for the password again.
    dangerous = False

    def facts(self, row: Any) -> dict[str, Any]:
        """What the audit log may say of it, never its password."""
        raise NotImplementedError

    def note(self, request: HttpRequest, verb: str, row: Any, **change: Any) -> None:
        """Write one event about `row`."""
        audit.record(f"{self.kind}.{verb}", actor=actor_of(request), source=source_of(request), target=row, **change)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Django's page; for a new row, and for what is sent, the person must have confirmed recently."""
        asks = self.dangerous and (request.method == "POST" or object_id is None)
        if asks and (asked := ask_first(request)):
            return asked
        return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Remember what it was: groups and permissions are only saved after it."""
        old = self.model._default_manager.filter(pk=obj.pk).first() if change else None
        request.audit_before = self.facts(old) if old else None  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Everything is saved: compare and record."""
        super().save_related(request, form, formsets, change)
        before = getattr(request, "audit_before", None)
        after = self.facts(self.model._default_manager.get(pk=form.instance.pk))
        if before != after:
            self.note(request, "update" if change else "create", form.instance, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Recorded first, while it still has a name."""
        self.note(request, "delete", obj, before=self.facts(obj))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """One event for each, in one transaction with their deletion."""
        with transaction.atomic():
            for row in queryset:
                self.delete_model(request, row)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit log is the only one."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit log is the only one."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The audit log is the only one."""
