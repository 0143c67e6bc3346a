"""Machine callers, and what they asked before."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from tenants.models.fields import EncryptedField


class Scope(models.TextChoices):
    """What an API key may be allowed to do."""

    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    CREDENTIALS_ROTATE = "credentials:rotate"
    CREDENTIALS_REVEAL = "credentials:reveal"
    CREDENTIALS_WRITE = "credentials:write"
    MIGRATORS_WRITE = "migrators:write"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"
    CLUSTERS_READ = "clusters:read"
    PLANS_READ = "plans:read"
    TEMPLATES_READ = "templates:read"
    BACKUPS_READ = "backups:read"
    BACKUPS_WRITE = "backups:write"
    BACKUPS_RESTORE = "backups:restore"
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    AUDIT_READ = "audit:read"
    PURGES_APPROVE = "purges:approve"


# What a key that is bound to one tenant may be allowed to do: what concerns that tenant alone.
TENANT_SCOPES = frozenset(
    {
        Scope.TENANTS_READ, Scope.TENANTS_WRITE, Scope.CREDENTIALS_ROTATE, Scope.CREDENTIALS_REVEAL,
        Scope.CREDENTIALS_WRITE, Scope.MIGRATORS_WRITE, Scope.OPERATIONS_READ,
        Scope.OPERATIONS_WRITE, Scope.BACKUPS_READ, Scope.BACKUPS_WRITE, Scope.BACKUPS_RESTORE, Scope.AUDIT_READ,
        Scope.ALERTS_READ,
    }
)  # fmt: skip


class ApiKey(models.Model):
    """A machine caller's key. Only its SHA-256 is stored: the key has 256 random bits, so nothing can be guessed."""

    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True, help_text="The key's first part, by which it is found.")
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.PROTECT, related_name="api_keys",
        help_text="The only tenant that this key sees; empty: the whole fleet.",
    )  # fmt: skip
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"
        permissions = [("revoke_apikey", "Can revoke an API key")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def usable(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class IdempotencyRecord(models.Model):
    """The answer to a request with an Idempotency-Key; encrypted, since it can hold a password."""

    caller = models.CharField(max_length=80)
    key = models.CharField(max_length=128)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    response = EncryptedField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_age")]

    def __str__(self) -> str:
        return self.key
