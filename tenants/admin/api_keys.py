"""API keys: made (and shown once), looked at, revoked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from tenants import api_keys
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.display import moment
from tenants.admin.forms import PageForm, ReasonForm, form_page
from tenants.callers import actor_of, source_of
from tenants.models import ApiKey, Tenant
from tenants.models.access import Scope


class ApiKeyForm(PageForm):
    """What a new key is called and may do."""

    name = forms.CharField(max_length=80, help_text="Who uses it, so that others know whom to ask.")
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)
    tenant = forms.CharField(
        required=False, max_length=40, label="Tenant", help_text="Its slug: the key sees it and no other. Empty: all."
    )
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires",
        help_text="UTC. Leave empty for a key without end.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [(value, value) for value in Scope.values]  # type: ignore[attr-defined]

    def clean_tenant(self) -> Tenant | None:
        """The tenant of this slug that lives. Raises ValidationError when there is none."""
        slug = self.cleaned_data["tenant"]
        if not slug:
            return None
        found = Tenant.objects.filter(slug=slug).exclude(state=Tenant.State.PURGED).first()
        if found is None:
            raise forms.ValidationError("There is no such tenant.")
        return found


class UsableFilter(admin.SimpleListFilter):
    """Usable, revoked or expired."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The three there are."""
        return [("active", "active"), ("revoked", "revoked"), ("expired", "expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keys in the chosen state."""
        now = timezone.now()
        if self.value() == "revoked":
            return queryset.exclude(revoked_at=None)
        if self.value() == "expired":
            return queryset.filter(revoked_at=None, expires_at__lte=now)
        if self.value() == "active":
            return queryset.filter(revoked_at=None).exclude(expires_at__lte=now)
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ControlPlaneAdmin):
    """Machine callers' keys. The key itself is shown once, when it is made."""

    empty_hint = "Add a key for each service that calls the REST interface."
    list_display = ("name", "prefix", "state", "scope_list", "tenant", "created_by", "used", "expires")
    list_filter = (UsableFilter,)
    search_fields = ("name", "prefix", "created_by")
    list_select_related = ("tenant",)
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Revoking has a page of its own."""
        return [("<int:object_id>/revoke/", self.revoke_view, "revoke")]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key is never changed: make another."""
        return False

    @display(description="state", label={"active": "success", "expired": "warning", "revoked": "danger"})
    def state(self, key: ApiKey) -> str:
        """Whether it works."""
        if key.usable:
            return "active"
        return "revoked" if key.revoked_at else "expired"

    @display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        """What it may do."""
        return "all" if set(key.scopes) == set(Scope.values) else ", ".join(key.scopes)

    @display(description="last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> Any:
        """To the minute."""
        return moment(key.last_used_at)

    @display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> str:
        """The day."""
        return f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form, and once it is sent the key."""
        require(request, "tenants.add_apikey")

        def perform(data: dict[str, Any]) -> HttpResponse:
            row, key = api_keys.create_api_key(**data, actor=actor_of(request), source=source_of(request))
            title = f"API key {row.name}"
            return self.page(request, "tenants/admin/api_key_created.html", title=title, obj=row, key=key)

        return form_page(self, request, ApiKeyForm, perform, title="Add API key", submit="Make the key", confirm=True)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A key's page: no part of the key but its prefix."""
        key = self.find(request, object_id)
        may_revoke = key.revoked_at is None and request.user.has_perm("tenants.revoke_apikey")
        context = {"state": self.state(key), "may_revoke": may_revoke}
        return self.page(request, "tenants/admin/api_key.html", title=str(key), obj=key, **context)

    def revoke_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask, then make the key useless."""
        require(request, "tenants.revoke_apikey")
        key = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            api_keys.revoke_api_key(api_key=key, **data, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"The key {key} works no more.")
            return HttpResponseRedirect(reverse("admin:tenants_apikey_changelist"))

        return form_page(
            self, request, ReasonForm, perform, title=f"Revoke {key.name}", submit="Revoke the key", obj=key,
            danger=True, intro=f"Whoever uses the key {key.prefix}… is refused from now on. There is no way back.",
        )  # fmt: skip
