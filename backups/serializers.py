"""Bodies of requests about backups, and what backups look like from outside."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from backups.models import Backup, BackupCopy
from backups.services import history
from backups.services.take import MAX_KEEP_DAYS, check_note
from tenants.rest.fields import CheckedField, StrictBooleanField, StrictSerializer, WholeNumberField
from tenants.serializers import tenant_url


class NoteField(CheckedField):
    """One line for people."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(check=check_note, **{"max_length": 500, "required": False, "allow_blank": True, **kwargs})


class NewBackupSerializer(StrictSerializer):
    """A backup to be taken now."""

    note = NoteField(help_text="Why, for people.")
    keep_days = WholeNumberField(
        required=False, min_value=1, max_value=MAX_KEEP_DAYS, help_text="Its own retention; left out: the policy's."
    )
    pinned = StrictBooleanField(required=False, help_text="Kept until somebody takes this away.")


class ChangeBackupSerializer(StrictSerializer):
    """What changes; the rest stays."""

    note = NoteField()
    keep_days = WholeNumberField(
        required=False, min_value=0, max_value=MAX_KEEP_DAYS, help_text="From now on; 0: as its policy says."
    )
    pinned = StrictBooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError when nothing is to change."""
        if not attrs:
            raise serializers.ValidationError("Say what to change: note, keep_days or pinned.", code="required")
        return attrs


class VerifyBackupSerializer(StrictSerializer):
    """How to verify."""

    deep = StrictBooleanField(
        required=False, help_text="Decrypt and unpack everything, too (if left out), or compare stored bytes only."
    )


class BackupCopySerializer(serializers.Serializer[Any]):
    """The files of a backup in one storage."""

    storage = serializers.CharField(source="storage.name")
    state = serializers.ChoiceField(choices=BackupCopy.State.choices)
    primary = serializers.BooleanField()
    bytes = serializers.IntegerField()
    stored_at = serializers.DateTimeField(allow_null=True)
    verified_at = serializers.DateTimeField(allow_null=True)
    locked_until = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField()


class BackupLinksSerializer(serializers.Serializer[Any]):
    """Paths on this server."""

    self = serializers.CharField()
    tenant = serializers.CharField(allow_null=True)
    operation = serializers.CharField(allow_null=True)


class BackupSerializer(serializers.Serializer[Any]):
    """One tenant at one moment. Sizes in bytes, durations in seconds."""

    id = serializers.UUIDField()
    tenant = serializers.UUIDField(source="origin_id", help_text="Whatever became of it.")
    tenant_slug = serializers.CharField(source="slug")
    cluster = serializers.SerializerMethodField()
    schema_name = serializers.CharField()
    template = serializers.CharField()
    template_version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Backup.State.choices)
    origin = serializers.ChoiceField(choices=Backup.Origin.choices)
    note = serializers.CharField()
    requested_by = serializers.CharField()
    pinned = serializers.BooleanField()
    keep_until = serializers.DateTimeField(allow_null=True, help_text="Its own retention; null: the policy's.")
    created_at = serializers.DateTimeField()
    snapshot_at = serializers.DateTimeField(allow_null=True, help_text="The moment it shows.")
    finished_at = serializers.DateTimeField(allow_null=True)
    unchanged_until = serializers.DateTimeField(
        allow_null=True, help_text="Up to when the tenant is proven to have been as it is in here."
    )
    lsn = serializers.CharField()
    server_version = serializers.IntegerField(help_text="server_version_num of PostgreSQL.")
    fingerprint = serializers.CharField()
    format_version = serializers.IntegerField()
    key_id = serializers.CharField()
    tables = serializers.IntegerField()
    rows = serializers.IntegerField()
    raw_bytes = serializers.IntegerField()
    stored_bytes = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)
    verified_at = serializers.DateTimeField(allow_null=True, help_text="When all of it was last read back and right.")
    proven_at = serializers.DateTimeField(allow_null=True, help_text="When it was last restored and compared.")
    damaged_at = serializers.DateTimeField(allow_null=True, help_text="When no copy of it was whole any more.")
    error = serializers.CharField()
    copies = BackupCopySerializer(many=True)
    links = serializers.SerializerMethodField()

    @extend_schema_field({"type": "string", "nullable": True})
    def get_cluster(self, backup: Backup) -> str | None:
        """The cluster's name."""
        return backup.cluster.name if backup.cluster else None

    @extend_schema_field(BackupLinksSerializer)
    def get_links(self, backup: Backup) -> dict[str, str | None]:
        """Paths on this server."""
        operation = reverse("operation-detail", args=[backup.operation_id]) if backup.operation_id else None
        return {
            "self": reverse("backup-detail", args=[backup.pk]),
            "tenant": tenant_url(backup.tenant) if backup.tenant else None,
            "operation": operation,
        }


class BackupDetailSerializer(BackupSerializer):
    """With why it is kept."""

    kept_because = serializers.SerializerMethodField()

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_kept_because(self, backup: Backup) -> list[str]:
        """The reasons; none for one that the next retention removes, or that is gone."""
        return history.reasons(backup)
