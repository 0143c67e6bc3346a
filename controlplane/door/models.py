"""What is known about people's sign-ins."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone

from tenants.models.fields import EncryptedField


class SecondFactor(models.Model):
    """Somebody's authenticator app, proven once by a code. Its secret is encrypted; a code works once."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor")
    secret = EncryptedField(editable=False)
    last_counter = models.BigIntegerField(default=0, help_text="Of the last code that was used: it works once.")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class RecoveryCode(models.Model):
    """One way in without the authenticator app. Only its SHA-256 is stored: it has 80 random bits."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64, editable=False)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="recovery_code_once")]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"


class SignInPolicy(models.Model):
    """What members of a group must have."""

    group = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="sign_in_policy")
    requires_second_factor = models.BooleanField(
        default=True, help_text="Members must set up an authenticator app before they can do anything else."
    )

    class Meta:
        ordering = ["group__name"]
        verbose_name = "sign-in policy"
        verbose_name_plural = "sign-in policies"

    def __str__(self) -> str:
        return self.group.name


class SignInAttempt(models.Model):
    """A password or code that was tried and not (yet) found right. Written before it is looked at, so that attempts at
    the same time in several processes are all counted."""

    name_digest = models.CharField(max_length=64, help_text="A keyed hash: people type passwords into the wrong field.")
    ip = models.CharField(max_length=45)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["name_digest", "at"], name="attempt_by_name"),
            models.Index(fields=["ip", "at"], name="attempt_by_ip"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.pk}"


class SessionRecord(models.Model):
    """A session of the admin, so that its owner can see and end it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="session_records")
    session_key = models.CharField(max_length=40, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    ip = models.GenericIPAddressField(null=True, blank=True)
    agent = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-seen_at"]

    def __str__(self) -> str:
        return f"session {self.pk}"
