"""What people type at the door."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from controlplane.door import factors, lockout
from tenants import audit
from tenants.actors import Actor
from tenants.admin.forms import PageForm
from tenants.callers import source_of
from tenants.models import AuditEvent

CODE_ATTRIBUTES = {"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}


def person(user: Any) -> Actor:
    """The person as an actor, before they are signed in."""
    return Actor(kind="user", id=str(user.pk), label=user.get_username())


def check_code(request: Any, user: Any, code: str) -> None:
    """Raise ValidationError unless `code` is this person's; every wrong one is counted and recorded."""
    source = source_of(request)
    try:
        attempt = lockout.begin(user.get_username(), source=source, is_code=True)
    except lockout.TooManyAttempts as error:
        raise ValidationError(error.message, code="locked") from error
    if factors.verify(user=user, code=code, actor=person(user), source=source):
        lockout.passed(attempt)
        return
    denied = AuditEvent.Outcome.DENIED
    audit.record("login.failure", actor=person(user), source=source, target=user, outcome=denied, reason="Wrong code.")
    lockout.failed(attempt, actor=person(user), source=source)
    raise ValidationError("This code is wrong, or was used already.", code="wrong_code")


def check_password(request: Any, username: str, authenticating: Any) -> Any:
    """Return what `authenticating()` returns; its ValidationError is counted as a failed attempt."""
    source = source_of(request)
    try:
        attempt = lockout.begin(username, source=source)
    except lockout.TooManyAttempts as error:
        raise ValidationError(error.message, code="locked") from error
    try:
        found = authenticating()
    except ValidationError:
        lockout.failed(attempt, actor=Actor(kind="user", id="", label="unknown user"), source=source)
        raise
    lockout.passed(attempt)
    return found


class SignInForm(AuthenticationForm):
    """Name and password; who is wrong too often waits, and who has no business here is turned away on record."""

    def clean(self) -> dict[str, Any]:
        """Raise ValidationError unless the password is right and there is no lock."""
        return check_password(self.request, self.cleaned_data.get("username") or "", super().clean)

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        """Raise ValidationError for people who are not staff."""
        if not (user.is_active and getattr(user, "is_staff", False)):
            audit.record(
                "login.failure", actor=person(user), source=source_of(self.request), target=user,
                outcome=AuditEvent.Outcome.DENIED, reason="Not a member of staff.",
            )  # fmt: skip
        super().confirm_login_allowed(user)


class CodeForm(PageForm):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(max_length=40, label="Code", widget=forms.TextInput(CODE_ATTRIBUTES))

    def __init__(self, *args: Any, request: Any = None, user: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request, self.user = request, user

    def clean_code(self) -> str:
        """Raise ValidationError when it is wrong, or when there were too many wrong ones."""
        code: str = self.cleaned_data["code"]
        if self.user is not None:
            check_code(self.request, self.user, code)
        return code


class ConfirmForm(PageForm):
    """The password again, and a code from those who have an app."""

    password = forms.CharField(
        strip=False, widget=forms.PasswordInput({"autocomplete": "current-password", "autofocus": True})
    )
    code = forms.CharField(max_length=40, widget=forms.TextInput({"autocomplete": "one-time-code"}))

    def __init__(self, *args: Any, request: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        if not factors.is_enrolled(request.user):
            del self.fields["code"]

    def clean(self) -> dict[str, Any]:
        """Raise ValidationError unless all of it is right. The code is looked at only after the password."""
        data: dict[str, Any] = super().clean() or {}
        if not self.errors:
            check_password(self.request, self.request.user.get_username(), self._authenticate)
            if "code" in self.fields:
                check_code(self.request, self.request.user, data["code"])
        return data

    def _authenticate(self) -> None:
        user = self.request.user
        found = authenticate(self.request, username=user.get_username(), password=self.cleaned_data["password"])
        if found is None or found.pk != user.pk:
            raise ValidationError("This is not your password.", code="wrong_password")
