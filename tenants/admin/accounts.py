"""People and groups, in unfold's look, each change under audit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from tenants.admin.audited import AuditedAdmin
from tenants.recent import ask_first

admin.site.unregister(User)
admin.site.unregister(Group)

_USER_FIELDS = ("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, AuditedAdmin):
    """People."""

    kind = "user"
    dangerous = True
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    ordering = ("username",)
    readonly_fields = ("last_login", "date_joined")

    def facts(self, row: Any) -> dict[str, Any]:
        """Name, address, flags, groups and own permissions."""
        return {
            **{field: getattr(row, field) for field in _USER_FIELDS},
            "groups": sorted(row.groups.values_list("name", flat=True)),
            "permissions": sorted(row.user_permissions.values_list("codename", flat=True)),
        }

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Not even the password's hash for people who only look."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        shown = ((title, options["fields"]) for title, options in found)
        return [(title, {"fields": [name for name in names if name != "password"]}) for title, names in shown]

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Django's page; that the password was set is recorded, the password is not."""
        if asked := ask_first(request):
            return asked
        with transaction.atomic():
            user = self.get_object(request, id)
            before = user.password if user else None
            response = super().user_change_password(request, id, form_url)
            if user and User.objects.values_list("password", flat=True).get(pk=user.pk) != before:
                self.note(request, "set_password", user)
        return response


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, AuditedAdmin):
    """What people may do."""

    kind = "group"
    dangerous = True

    def facts(self, row: Any) -> dict[str, Any]:
        """Its name and permissions."""
        return {"name": row.name, "permissions": sorted(row.permissions.values_list("codename", flat=True))}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Say which groups are ours: they are set right again at each start."""
        if request.method == "GET" and self.has_change_permission(request):
            messages.info(
                request,
                "viewer, operator, auditor and administrator are reset whenever the control plane starts: "
                "copy one to vary it.",
            )
        return super().changelist_view(request, extra_context)
