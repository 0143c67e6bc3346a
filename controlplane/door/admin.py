"""Sign-in policies of groups, and what administrators do for people who cannot get in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from controlplane.door import factors, lockout, sessions
from controlplane.door.models import SignInPolicy
from tenants.admin.accounts import UserAdmin
from tenants.admin.audited import AuditedAdmin
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.recent import ask_first

admin.site.unregister(User)


@admin.register(SignInPolicy)
class SignInPolicyAdmin(AuditedAdmin):
    """Which groups must have a second factor."""

    kind = "sign_in_policy"
    dangerous = True
    list_display = ("group", "requires_second_factor")

    def facts(self, row: Any) -> dict[str, Any]:
        """Group and rule."""
        return {"group": row.group.name, "requires_second_factor": row.requires_second_factor}


@admin.register(User)
class PersonAdmin(UserAdmin):
    """People, and the way back in for those who lost theirs."""

    actions = ("reset_second_factor", "unlock_sign_in", "end_sessions")

    @admin.action(description="Reset the second factor (device lost)", permissions=["change"])
    def reset_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """The next sign-in needs the password only, and enrols again where a policy asks for it."""

        def reset(user: User, **caller: Any) -> None:
            factors.remove(user=user, reason="Reset by an administrator.", **caller)
            sessions.end_all(user=user, reason="The second factor was reset.", **caller)

        return self._each(request, queryset, reset, "without a second factor")

    @admin.action(description="Unlock after too many failed sign-ins", permissions=["change"])
    def unlock_sign_in(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Their failed attempts are forgotten."""

        def free(user: User, **caller: Any) -> None:
            lockout.unlock(username=user.get_username(), **caller)

        return self._each(request, queryset, free, "unlocked")

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """All their sessions end."""

        def end(user: User, **caller: Any) -> None:
            sessions.end_all(user=user, reason="Ended by an administrator.", **caller)

        return self._each(request, queryset, end, "signed out")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[User], act: Callable[..., None], done: str
    ) -> HttpResponse | None:
        if asked := ask_first(request):
            return asked
        count = 0
        for user in queryset:
            try:
                act(user, actor=actor_of(request), source=source_of(request))
                count += 1
            except ControlPlaneError as error:
                messages.warning(request, str(error))
        messages.success(request, f"{count} {done}.")
        return None
