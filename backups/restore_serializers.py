"""Bodies of requests about restores, and what they and what they set aside look like from outside."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from backups.models import KeptSchema
from backups.services.restore import MAX_KEEP_DAYS
from tenants.rest.fields import StrictBooleanField, StrictSerializer, TextField, WholeNumberField
from tenants.serializers import LabelsField, NameField, ReasonField, SlugField

OF_NEW = ("slug", "name", "plan", "cluster", "labels")
OF_SAME = ("confirm_slug", "backup_before", "keep_days", "tables")


class RestoreSerializer(StrictSerializer):
    """What to restore it into: `new` (`slug`, what shall differ from how it was), `same` (`confirm_slug`, `reason`)."""

    target = serializers.ChoiceField(choices=["new", "same", "tables"])
    slug = SlugField(required=False, help_text="The new tenant's.")
    name = NameField(required=False, help_text="The new tenant's.")
    plan = TextField(required=False, max_length=40, help_text="The new tenant's, by its slug.")
    cluster = TextField(required=False, max_length=40, help_text="Where the new tenant is made, by its name.")
    labels = LabelsField(required=False)
    tables = serializers.ListField(
        child=TextField(max_length=63), required=False, min_length=1, max_length=1_000,
        help_text="For the target tables: whose rows are replaced, in one transaction.",
    )  # fmt: skip
    confirm_slug = TextField(required=False, max_length=40, help_text="The tenant's slug, once more.")
    backup_before = StrictBooleanField(
        required=False, help_text="Back up the present state first (if left out), or do not."
    )
    keep_days = WholeNumberField(
        required=False, min_value=1, max_value=MAX_KEEP_DAYS, help_text="How long what is replaced is kept; 7."
    )
    reason = ReasonField()
    dry_run = StrictBooleanField(required=False, help_text="Tell what would happen, and do nothing.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError for what does not belong to the target, and for what is missing."""
        new = attrs["target"] == "new"
        unfit = {"new": OF_SAME, "same": (*OF_NEW, "tables"), "tables": (*OF_NEW, "keep_days")}[attrs["target"]]
        foreign = [name for name in unfit if name in attrs]
        if foreign:
            raise serializers.ValidationError({foreign[0]: f"This is not for the target {attrs['target']}."})
        needed = ["slug"] if new else [] if attrs.get("dry_run") else ["confirm_slug", "reason"]
        needed += ["tables"] if attrs["target"] == "tables" else []
        if missing := [name for name in needed if not attrs.get(name)]:
            raise serializers.ValidationError({missing[0]: serializers.ErrorDetail("This is needed.", code="required")})
        return attrs


class ConfirmRestoreSerializer(StrictSerializer):
    """That the restore was right."""

    reason = ReasonField()


class UndoRestoreSerializer(StrictSerializer):
    """The confirmation."""

    confirm_slug = TextField(max_length=40, help_text="The tenant's slug, once more.")
    reason = ReasonField(required=True, allow_blank=False)


class TableRowsSerializer(serializers.Serializer[Any]):
    """A table's rows then and now; null where there is no such table."""

    name = serializers.CharField()
    rows_then = serializers.IntegerField(allow_null=True)
    rows_now = serializers.IntegerField(allow_null=True)
    exact = serializers.BooleanField(help_text="Whether the present rows were counted, not estimated.")


class ExpectedSerializer(serializers.Serializer[Any]):
    """How long it takes."""

    seconds = serializers.FloatField()
    measured_by = serializers.IntegerField(help_text="How many earlier restores that is worked out from; 0: assumed.")


class PreviewSerializer(serializers.Serializer[Any]):
    """What a restore would do."""

    backup = serializers.UUIDField()
    tenant = serializers.CharField()
    snapshot_at = serializers.DateTimeField()
    server_version = serializers.IntegerField()
    template = serializers.CharField()
    template_version = serializers.IntegerField()
    rows_then = serializers.IntegerField()
    rows_now = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField()
    changed = serializers.BooleanField(allow_null=True, help_text="Whether anything was changed since the backup.")
    expected = ExpectedSerializer()
    tables = TableRowsSerializer(many=True)
    changes = serializers.ListField(child=serializers.CharField())
    losses = serializers.ListField(child=serializers.CharField())


class KeptSchemaSerializer(serializers.Serializer[Any]):
    """A schema that a restore has set aside."""

    id = serializers.IntegerField()
    tenant = serializers.UUIDField(source="tenant_id")
    schema_name = serializers.CharField()
    state = serializers.ChoiceField(choices=KeptSchema.State.choices)
    backup = serializers.UUIDField(source="backup_id", allow_null=True)
    template_version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    keep_until = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    settled_by = serializers.CharField()


class DrillSerializer(StrictSerializer):
    """Why."""

    reason = ReasonField()


class RecoverySerializer(serializers.Serializer[Any]):
    """How well a tenant could be restored. Null where there is nothing yet."""

    backup = serializers.UUIDField(allow_null=True, help_text="The newest that can be restored.")
    covered_until = serializers.DateTimeField(allow_null=True, help_text="Up to when a good backup shows the tenant.")
    proven_at = serializers.DateTimeField(allow_null=True, help_text="When a backup was last restored and compared.")
    proven_backup = serializers.UUIDField(allow_null=True)
    proven_seconds = serializers.FloatField(allow_null=True, help_text="How long that restore took.")
    failed_at = serializers.DateTimeField(allow_null=True, help_text="When a drill failed, if none succeeded since.")
    failure = serializers.CharField()
    expected = ExpectedSerializer(allow_null=True)
    kept_schema = serializers.IntegerField(allow_null=True, help_text="What a restore has replaced and not dropped.")
