"""The forms of the review screens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict

from tenants.admin.forms import PageForm
from tenants.filters import AuditEventFilter
from tenants.ledger.actions import known_actions
from tenants.models import AuditEvent, Tenant

CHANNELS = ("admin", "rest", "command", "beat", "worker")
# How other pages, and old bookmarks, name them.
FORMER = {"tenant_id__exact": "tenant", "target_id__exact": "target", "outcome__exact": "outcome"}


def _moment(label: str) -> forms.CharField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"})
    return forms.CharField(required=False, label=label, max_length=40, widget=widget)


class AuditFilterForm(PageForm):
    """What the list of events can be narrowed down by, together or alone. Times are UTC."""

    actor = forms.CharField(required=False, max_length=150, help_text="A name, or kind:id.")
    action = forms.ChoiceField(required=False)
    tenant = forms.CharField(required=False, max_length=64, help_text="Slug or id.")
    outcome = forms.ChoiceField(required=False, choices=[("", "any"), *AuditEvent.Outcome.choices])
    channel = forms.ChoiceField(required=False, choices=[("", "any"), *((name, name) for name in CHANNELS)])
    request_id = forms.CharField(required=False, max_length=64, label="Request")
    target = forms.CharField(required=False, max_length=64, label="Target's id")
    since = _moment("From")
    until = _moment("Until")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        actions = known_actions()
        areas = sorted({f"{name.partition('.')[0]}." for name in actions})
        given = self.data.get("action", "")
        more = [given] if given and given not in (*areas, *actions) else []
        choices = [("", "any"), *((area, f"{area}*") for area in areas), *((name, name) for name in (*actions, *more))]
        self.fields["action"].choices = choices  # type: ignore[attr-defined]

    def clean_tenant(self) -> str:
        """The id, also of a slug; of several with one slug the newest. Raises ValidationError."""
        text = self.cleaned_data["tenant"].strip()
        if not text:
            return ""
        try:
            return str(UUID(text))
        except ValueError:
            found = Tenant.objects.filter(slug=text).order_by("-created_at").values_list("pk", flat=True).first()
        if found is None:
            raise forms.ValidationError(f"There never was a tenant “{text[:40]}”.")
        return str(found)

    def chosen(self) -> dict[str, str]:
        """What was filled in, for AuditEventFilter."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value}

    def clean(self) -> dict[str, Any]:
        """Whatever the filter refuses is said at its field."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        found = AuditEventFilter(self.chosen(), queryset=AuditEvent.objects.all())
        if not found.is_valid():
            for name, errors in found.errors.items():
                if name not in self.errors:
                    self.add_error(name, errors)
        else:
            self.events = found.qs
        return cleaned


def given(query: QueryDict) -> dict[str, str]:
    """The form's fields out of an address, by their present names."""
    named = {FORMER.get(name, name): value for name, value in query.items()}
    return {name: str(value) for name, value in named.items() if name in AuditFilterForm.base_fields and value}


class ReviewForm(PageForm):
    """What somebody signs off."""

    from_seq = forms.IntegerField(min_value=1, label="From seal")
    to_seq = forms.IntegerField(min_value=1, label="To seal")
    note = forms.CharField(
        max_length=500,
        help_text="What was looked at, and what came of it. It stands in the log for good.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class VerifyForm(PageForm):
    """Nothing to fill in."""


class KeepForm(PageForm):
    """A name for a filter."""

    name = forms.CharField(max_length=60)
