"""Bodies of requests about tenants, and what templates and connections look like from outside."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from provisioning.models import PurgeRequest, Template, TenantCredential
from provisioning.services.additional import MAX_MINUTES
from tenants.models import TenantRole
from tenants.rest.fields import StrictBooleanField, StrictSerializer, TextField, WholeNumberField, represent
from tenants.serializers import (
    ANYTHING,
    LabelsField,
    LimitsField,
    NameField,
    OperationSummarySerializer,
    ReasonField,
    SlugField,
    TenantSerializer,
)


class WaitingPurgeSerializer(serializers.Serializer[Any]):
    """A purge that waits for a second person, or waited."""

    id = serializers.UUIDField()
    tenant = serializers.UUIDField(source="tenant_id")
    state = serializers.ChoiceField(choices=PurgeRequest.State.choices)
    force = serializers.BooleanField()
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    decided_by = serializers.CharField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_reason = serializers.CharField()


class NewTenantSerializer(StrictSerializer):
    """A tenant to be made. What is left out is the default."""

    name = NameField(help_text="For people.")
    slug = SlugField(help_text="Unique among live tenants; for host names and paths.")
    plan = TextField(required=False, max_length=40, help_text="A plan's slug.")
    template = TextField(required=False, max_length=63, help_text="A template's name; its newest version is used.")
    cluster = TextField(required=False, max_length=40, help_text="A cluster's name.")
    labels = LabelsField(required=False)
    limits = LimitsField(required=False, help_text="Where it shall differ from its plan.")


class ChangeTenantSerializer(StrictSerializer):
    """What changes; the rest stays. `labels` and `limits` are replaced as a whole."""

    name = NameField(required=False)
    plan = TextField(required=False, max_length=40, help_text="A plan's slug.")
    labels = LabelsField(required=False)
    limits = LimitsField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError when nothing is to change."""
        if not attrs:
            raise serializers.ValidationError("Say what to change: name, plan, labels or limits.", code="required")
        return attrs


class PurgeSerializer(StrictSerializer):
    """The confirmation of a purge."""

    confirm_slug = TextField(max_length=40, help_text="The tenant's slug, once more.")
    reason = ReasonField(required=True, allow_blank=False)
    force = StrictBooleanField(required=False, help_text="Also before the grace period is over.")


class RotateSerializer(StrictSerializer):
    """How to rotate."""

    overlap_minutes = WholeNumberField(
        required=False,
        min_value=0,
        max_value=43_200,
        help_text="When the old login is closed. Left out: after the plan's overlap, once it is no longer used.",
    )
    emergency = StrictBooleanField(
        required=False, help_text="The old login is dead at once, its sessions too. Needs a reason, and no overlap."
    )
    reason = ReasonField()


class RevealSerializer(StrictSerializer):
    """Why stored credentials are shown."""

    reason = ReasonField(required=True, allow_blank=False)


class NewCredentialSerializer(StrictSerializer):
    """An additional login."""

    access = TextField(
        required=False,
        max_length=12,
        help_text="read_only (if it is left out) or read_write, like the tenant's own.",
    )
    minutes = WholeNumberField(
        required=False, min_value=1, max_value=MAX_MINUTES, help_text="How long, at most 90 days; a day when left out."
    )
    owner = NameField(help_text="Who uses it.")
    reason = ReasonField(required=True, allow_blank=False)


class CloseCredentialSerializer(StrictSerializer):
    """Why it is taken away; in the query, since a DELETE has no body."""

    reason = ReasonField()


class LoginSerializer(serializers.Serializer[Any]):
    """One of a tenant's two own logins, of which rotation opens one before it closes the other."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=TenantRole.State.choices)
    issued_at = serializers.DateTimeField(allow_null=True)
    collected_at = serializers.DateTimeField(allow_null=True, help_text="When somebody was first given the password.")
    retire_at = serializers.DateTimeField(allow_null=True, help_text="Until when it is open at least.")
    close_by = serializers.DateTimeField(
        allow_null=True, help_text="Until when it may stay open if it is used; null: it closes at `retire_at`."
    )
    last_seen_at = serializers.DateTimeField(
        allow_null=True, help_text="When a session of a retiring login was last seen doing something."
    )


class CredentialSerializer(serializers.Serializer[Any]):
    """An additional login."""

    id = serializers.UUIDField()
    login = serializers.CharField()
    access = serializers.ChoiceField(choices=TenantCredential.Access.choices)
    owner = serializers.CharField()
    reason = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    closed_because = serializers.CharField()
    last_seen_at = serializers.DateTimeField(allow_null=True)


class NewMigratorSerializer(StrictSerializer):
    """A window for the tenant's migrator."""

    minutes = WholeNumberField(required=False, min_value=1, max_value=1440, help_text="30 when left out.")
    reason = ReasonField(required=True, allow_blank=False)


class MigratorSerializer(serializers.Serializer[Any]):
    """A time in which the tenant's migrator, which acts as its schema's owner, may log in."""

    login = serializers.CharField()
    reason = serializers.CharField()
    opened_by = serializers.CharField()
    opened_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    findings = serializers.CharField(help_text="What was wrong with the schema's protection when it was closed.")


class CredentialsSerializer(serializers.Serializer[Any]):
    """All logins of a tenant. Never a password."""

    logins = LoginSerializer(many=True)
    additional = CredentialSerializer(many=True)


class DeletionSerializer(StrictSerializer):
    """How to delete; in the query, since a DELETE has no body."""

    reason = ReasonField()
    grace_days = serializers.IntegerField(
        required=False, min_value=0, max_value=365, help_text="Until it is purged; the plan's by default."
    )


class ConnectionSerializer(serializers.Serializer[Any]):
    """What a tenant's application connects with. It is shown in this one answer only."""

    host = serializers.CharField()
    port = serializers.IntegerField()
    dbname = serializers.CharField()
    user = serializers.CharField()
    password = serializers.CharField()
    search_path = serializers.CharField()
    dsn = serializers.CharField()


class CredentialWithConnectionSerializer(CredentialSerializer):
    """An additional login, and its password, which is stored nowhere."""

    connection = ConnectionSerializer()


class MigratorWithConnectionSerializer(MigratorSerializer):
    """An open window, and the migrator's password, which is stored nowhere."""

    connection = ConnectionSerializer()


class TenantWithConnectionSerializer(TenantSerializer):
    """A tenant and its new credentials."""

    connection = ConnectionSerializer()
    operation = OperationSummarySerializer(allow_null=True)


class TenantWithOperationSerializer(TenantSerializer):
    """A tenant, and the operation that has changed it; null when nothing had to be done."""

    operation = OperationSummarySerializer(allow_null=True)


class TemplateVersionSerializer(serializers.Serializer[Any]):
    """One immutable version."""

    number = serializers.IntegerField()
    fingerprints = serializers.SerializerMethodField()
    size = serializers.SerializerMethodField()
    extensions = serializers.SerializerMethodField()
    notes = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
    def get_fingerprints(self, version: Any) -> Any:
        """What a true clone hashes to, by PostgreSQL's major version."""
        return version.fingerprints

    @extend_schema_field(ANYTHING)
    def get_size(self, version: Any) -> Any:
        """How many tables, indexes and so on."""
        return version.size

    @extend_schema_field({"type": "array", "items": {}})
    def get_extensions(self, version: Any) -> Any:
        """Extensions it needs."""
        return version.extensions

    @extend_schema_field({"type": "array", "items": {}})
    def get_notes(self, version: Any) -> Any:
        """What the import remarked."""
        return version.notes


class TemplateSerializer(serializers.Serializer[Any]):
    """A schema that tenants get a copy of, with its versions, newest first."""

    name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    versions = serializers.SerializerMethodField()

    @extend_schema_field(TemplateVersionSerializer(many=True))
    def get_versions(self, template: Template) -> Any:
        """All versions."""
        return [represent(TemplateVersionSerializer, version) for version in template.versions.all()]
