"""The tenants, their domains and their logins."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

from tenants import secrets
from tenants.models.clusters import Cluster
from tenants.models.fields import EncryptedField
from tenants.models.plans import Plan


class Tenant(TenantMixin):
    """A customer with an own schema.

    ::

        provisioning ──► active ◄──► suspended
             │              └────┬───────┘
             ▼                   ▼      undelete: back to where it was
           failed ──► (retry)  deleted ──► purged

    `state` changes only by compare-and-swap in the services; `version` grows with each change (it is the ETag).
    Neither saving nor deleting the row touches a schema: workflows do that.
    """

    class State(models.TextChoices):
        PROVISIONING = "provisioning"
        ACTIVE = "active"
        SUSPENDED = "suspended"
        DELETED = "deleted"
        PURGED = "purged"
        FAILED = "failed"

    auto_create_schema = False
    auto_drop_schema = False

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    slug = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=State.choices, default=State.PROVISIONING)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="tenants")
    template = models.CharField(max_length=63)
    template_version = models.PositiveIntegerField()
    labels = models.JSONField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True, help_text="Where this tenant's limits differ from its plan.")
    version = models.PositiveIntegerField(default=1, editable=False)
    state_reason = models.CharField(max_length=500, blank=True)
    restore_state = models.CharField(max_length=12, blank=True, help_text="What undelete returns to.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    purge_after = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [
            ("suspend_tenant", "Can suspend a tenant"),
            ("resume_tenant", "Can resume a tenant"),
            ("undelete_tenant", "Can bring a deleted tenant back"),
            ("purge_tenant", "Can purge a tenant for good"),
            ("rotate_tenant", "Can rotate a tenant's credentials"),
            ("collect_credentials", "Can collect a tenant's new credentials, once"),
            ("reveal_credentials", "Can have a tenant's stored credentials shown"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["slug"], condition=~models.Q(state="purged"), name="live_slug_once"),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=["provisioning", "active", "suspended", "deleted", "purged", "failed"],
                ),
                name="tenant_state",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="deleted") | models.Q(deleted_at__isnull=False, purge_after__isnull=False),
                name="deleted_has_deadline",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="tenant_newest"),
            models.Index(fields=["state", "-created_at"], name="tenant_by_state"),
            models.Index(fields=["cluster", "template", "template_version"], name="tenant_by_version"),
            models.Index(fields=["purge_after"], condition=models.Q(state="deleted"), name="tenant_to_purge"),
        ]

    def __str__(self) -> str:
        return self.slug

    def effective_limits(self) -> dict[str, int]:
        """The plan's limits with this tenant's own laid over them."""
        return {**self.plan.limits(), **self.limits}


def on_server(cluster: Cluster) -> models.Q:
    """Tenants of a registered cluster, those in databases of their own on its server included."""
    return models.Q(cluster=cluster) | models.Q(cluster__host_cluster=cluster)


class Domain(DomainMixin):
    """A host name by which django-tenants' routing finds a tenant."""


class TenantRole(models.Model):
    """One of a tenant's two alternating logins, and its password, encrypted.

    ::

        off ──► active ──► retiring ──► off      (rotation: the other login becomes active meanwhile)

    `collected_at` is when somebody was first given the password; a rotation by policy happens without anybody asking
    for it. A retiring login is open until `retire_at` at least. Then it is closed: at once when there is no `close_by`
    (somebody chose that moment), else when it has been unused for a while and its successor was collected, and at
    `close_by` in any case. `last_seen_at` is when a session of it last did something, as far as the sweep has seen.
    """

    class State(models.TextChoices):
        OFF = "off"
        ACTIVE = "active"
        RETIRING = "retiring"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="roles")
    name = models.CharField(max_length=63)
    state = models.CharField(max_length=12, choices=State.choices, default=State.OFF)
    secret = EncryptedField(blank=True, editable=False)
    issued_at = models.DateTimeField(null=True, blank=True)
    retire_at = models.DateTimeField(null=True, blank=True)
    close_by = models.DateTimeField(null=True, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="role_once"),
            models.UniqueConstraint(fields=["tenant"], condition=models.Q(state="active"), name="one_active_login"),
            models.CheckConstraint(condition=models.Q(state__in=["off", "active", "retiring"]), name="role_state"),
        ]
        indexes = [models.Index(fields=["retire_at"], condition=models.Q(state="retiring"), name="role_to_retire")]

    def __str__(self) -> str:
        return self.name

    def set_password(self, password: str) -> None:
        """Keep `password`, encrypted; the caller saves."""
        self.secret = secrets.encrypt(password)

    def password(self) -> str:
        """The password in clear. Whoever calls this must record a `credentials.revealed` audit event."""
        return secrets.decrypt(self.secret)

    def as_audit(self) -> dict[str, Any]:
        """What an audit event may say of it."""
        return {"login": self.name, "state": self.state}
