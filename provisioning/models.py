"""Templates, their immutable versions, and schemas waiting for a tenant."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.utils import timezone

from tenants.models import Cluster, Tenant
from tenants.models.fields import EncryptedField


class Template(models.Model):
    """A schema that tenants get a copy of."""

    name = models.CharField(max_length=63, unique=True)
    description = models.CharField(max_length=300, blank=True)
    is_default = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_template"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def latest(self) -> TemplateVersion | None:
        """The newest version, which new tenants get."""
        return self.versions.order_by("-number").first()


class TemplateVersion(models.Model):
    """One compiled, immutable form of a template (a trigger in the database refuses changes).

    `script` makes a clone where `marker` is replaced by a schema name. `fingerprints` holds, per PostgreSQL major,
    what a true clone hashes to: catalogs differ between majors, so each is measured on its own server.
    """

    heavy_fields = ("script",)

    template = models.ForeignKey(Template, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    source = models.CharField(max_length=300)
    script = models.TextField(editable=False)
    marker = models.CharField(max_length=63, editable=False)
    fingerprints = models.JSONField(default=dict, editable=False)
    size = models.JSONField(default=dict)
    extensions = models.JSONField(default=list)
    timeseries = models.JSONField(default=list)
    notes = models.JSONField(default=list)
    compiled_on = models.PositiveIntegerField(help_text="The server_version_num it was compiled with.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["template__name", "-number"]
        constraints = [models.UniqueConstraint(fields=["template", "number"], name="template_version_once")]

    def __str__(self) -> str:
        return f"{self.template.name} v{self.number}"

    def as_reference(self) -> dict[str, Any]:
        """What identifies it in answers and audit events."""
        return {"template": self.template.name, "version": self.number}


class SchemaSlot(models.Model):
    """A tenant schema, from before it has a tenant.

    ::

        building ──► ready ──► claimed         (claimed: it has a tenant, and goes when that is purged)
            └──────────┴──► retiring ──► (row deleted)

    The row exists before anything is made on the cluster and until everything there is gone, so what a crash
    leaves behind is always found by its row. `lease_expires_at` is until when its builder is believed alive.
    `secret` is the encrypted password of its first login, which moves to the tenant's role; `limits` are what it
    was given, so that a claim has to change only what differs.
    """

    class State(models.TextChoices):
        BUILDING = "building"
        READY = "ready"
        CLAIMED = "claimed"
        RETIRING = "retiring"

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="slots")
    template_version = models.ForeignKey(TemplateVersion, on_delete=models.PROTECT, related_name="slots")
    schema_name = models.CharField(max_length=63, unique=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.BUILDING)
    tenant = models.OneToOneField(Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="slot")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    build_seconds = models.FloatField(null=True, blank=True)
    secret = EncryptedField(blank=True, editable=False)
    limits = models.JSONField(default=dict, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "slot"
        permissions = [("fill_pool", "Can fill a pool of slots")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["building", "ready", "claimed", "retiring"]), name="slot_state"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="claimed") | models.Q(tenant__isnull=False), name="claimed_has_tenant"
            ),
        ]
        indexes = [
            models.Index(
                fields=["cluster", "template_version", "id"], condition=models.Q(state="ready"), name="slot_ready"
            ),
            models.Index(fields=["state", "-id"], name="slot_by_state"),
        ]

    def __str__(self) -> str:
        return self.schema_name


class MigratorWindow(models.Model):
    """A time in which a tenant's migrator, a login that acts as its schema's owner, may log in.

    `open ──► closed` (by hand, when its time is over, or with the tenant's suspension); one open window a tenant.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="migrator_windows")
    login = models.CharField(max_length=63)
    reason = models.CharField(max_length=500)
    opened_by = models.CharField(max_length=150)
    opened_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    findings = models.TextField(blank=True, help_text="What was wrong with the schema's protection at the end.")

    class Meta:
        ordering = ["-opened_at", "-id"]
        permissions = [("open_migrator", "Can open and close a tenant's migrator")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(closed_at__isnull=True), name="one_open_migrator"
            )
        ]

    def __str__(self) -> str:
        return self.login


class PurgeRequest(models.Model):
    """A purge that waits for a second person.

    ``waiting ──► approved | rejected | expired``; one waiting request a tenant.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="purge_requests")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    force = models.BooleanField(default=False)
    reason = models.CharField(max_length=500)
    requested_by = models.CharField(max_length=150)
    # The people and keys behind the request: none of them may approve it.
    principals = models.JSONField(default=list)
    requested_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-requested_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(state="waiting"), name="one_waiting_purge_request"
            )
        ]

    def __str__(self) -> str:
        return f"purge of {self.tenant}"


class TenantCredential(models.Model):
    """An additional login of a tenant, for somebody and for a while. Its password is shown once and stored nowhere.

    `open ──► closed` (by hand, when its time is over, or with the tenant's suspension or deletion), and then it is gone
    from the cluster; the row stays. It is written before the login is made, so whatever dies in between is found.
    """

    class Access(models.TextChoices):
        READ_ONLY = "read_only"
        READ_WRITE = "read_write"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="credentials")
    login = models.CharField(max_length=63, unique=True)
    access = models.CharField(max_length=12, choices=Access.choices, default=Access.READ_ONLY)
    owner = models.CharField(max_length=150, help_text="Who uses it.")
    reason = models.CharField(max_length=500)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_because = models.CharField(max_length=500, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [("issue_credential", "Can give a tenant additional logins, and take them away")]
        constraints = [
            models.CheckConstraint(condition=models.Q(access__in=["read_only", "read_write"]), name="credential_access")
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=models.Q(closed_at__isnull=True), name="credential_to_close"),
            models.Index(fields=["tenant", "-created_at"], name="credential_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.login
