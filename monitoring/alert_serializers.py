"""Bodies of requests about alerts, and what alerts, rules and channels look like from outside."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from rest_framework import serializers

from monitoring.alerts import represent
from monitoring.models import Alert, AlertRule, NotificationChannel, Severity
from tenants.models import Cluster, Plan, Tenant
from tenants.rest.fields import StrictBooleanField, StrictSerializer, TextField, WholeNumberField


class NumberField(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        """Raises ValidationError for anything but a number (true is none, "8" neither)."""
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        try:
            return super().to_internal_value(data)
        except OverflowError as error:
            raise serializers.ValidationError("The number is too large.", code="invalid") from error


class NamedField(serializers.SlugRelatedField[Any]):
    """A row by its name; null for none."""

    def to_internal_value(self, data: Any) -> Any:
        """Raises ValidationError unless it is the name of one."""
        if not isinstance(data, str) or "\x00" in data:
            raise serializers.ValidationError("The name, as a text.", code="invalid")
        return super().to_internal_value(data)


class NoteSerializer(StrictSerializer):
    """What to write beside it."""

    note = TextField(required=False, allow_blank=True, max_length=500, help_text="For those who come after.")


class SilenceSerializer(StrictSerializer):
    """How long nobody is told."""

    until = serializers.DateTimeField(
        allow_null=True, default_timezone=UTC, help_text="At most 90 days ahead; null ends the silence."
    )
    reason = TextField(required=False, allow_blank=True, max_length=500)


class ChangeRuleSerializer(StrictSerializer):
    """What changes; the rest stays. Of a rule that comes with the product this stays over upgrades."""

    name = TextField(required=False, max_length=120)
    metric = TextField(required=False, max_length=60)
    comparison = serializers.ChoiceField(choices=AlertRule.Comparison.choices, required=False)
    threshold = NumberField(required=False)
    clear_threshold = NumberField(required=False, allow_null=True)
    for_seconds = WholeNumberField(required=False, min_value=0, max_value=604_800)
    keep_firing_seconds = WholeNumberField(required=False, min_value=0, max_value=604_800)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    summary = TextField(required=False, max_length=200)
    description = TextField(required=False, max_length=1000, allow_blank=True)
    runbook = TextField(required=False, max_length=60, allow_blank=True)
    enabled = StrictBooleanField(required=False)
    cluster = NamedField(slug_field="name", queryset=Cluster.objects.all(), required=False, allow_null=True)
    plan = NamedField(slug_field="slug", queryset=Plan.objects.all(), required=False, allow_null=True)
    tenant = serializers.PrimaryKeyRelatedField(
        queryset=Tenant.objects.all(), required=False, allow_null=True, pk_field=serializers.UUIDField()
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError when nothing is to change."""
        if not attrs:
            raise serializers.ValidationError("Say what to change.", code="required")
        return attrs


class AlertSerializer(serializers.Serializer[Any]):
    """A rule that holds for one subject, or did."""

    id = serializers.IntegerField()
    rule = serializers.CharField(help_text="The rule's slug.")
    state = serializers.ChoiceField(choices=Alert.State.choices)
    severity = serializers.ChoiceField(choices=Severity.choices)
    subject = serializers.CharField(help_text="`fleet`, or `cluster:` or `tenant:` with its id.")
    subject_label = serializers.CharField()
    tenant = serializers.UUIDField(allow_null=True)
    cluster = serializers.CharField(allow_null=True)
    summary = serializers.CharField()
    description = serializers.CharField()
    condition = serializers.CharField()
    value = serializers.FloatField(help_text="The last figure, in base units.")
    value_text = serializers.CharField()
    seen_at = serializers.DateTimeField(help_text="When it was taken.")
    no_data_since = serializers.DateTimeField(allow_null=True, help_text="There is no newer figure; the state stays.")
    held_since = serializers.DateTimeField()
    fired_at = serializers.DateTimeField(allow_null=True)
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField()
    note = serializers.CharField()
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolution = serializers.CharField(help_text="Why it is over.")
    silenced = serializers.BooleanField()
    silenced_until = serializers.DateTimeField(allow_null=True)
    runbook_url = serializers.CharField()
    url = serializers.CharField(help_text="Its page in the admin.")

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        """As commands show it."""
        return super().to_representation(represent.alert(instance))


class TransitionSerializer(serializers.Serializer[Any]):
    """That it entered a state."""

    state = serializers.ChoiceField(choices=Alert.State.choices)
    at = serializers.DateTimeField()
    value = serializers.FloatField()
    by = serializers.CharField(help_text="Who did it; empty: the evaluation.")
    reason = serializers.CharField()


class DeliverySerializer(serializers.Serializer[Any]):
    """That a channel was told, or will be."""

    channel = serializers.CharField(source="channel.name")
    event = serializers.CharField()
    state = serializers.CharField(source="notification.state")
    attempts = serializers.IntegerField(source="notification.attempts")
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(source="notification.sent_at", allow_null=True)
    error = serializers.CharField(source="notification.error")


class AlertDetailSerializer(AlertSerializer):
    """With its history, and who was told."""

    history = TransitionSerializer(many=True)
    deliveries = DeliverySerializer(many=True)

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        """A bound tenant's key sees who was told as well: the names of channels, no address."""
        document = represent.alert(instance)
        document["history"] = instance.transitions.all()
        document["deliveries"] = instance.deliveries.select_related("channel", "notification")
        return serializers.Serializer.to_representation(self, document)


class AlertRuleSerializer(serializers.Serializer[Any]):
    """A metric held against a threshold. Times in seconds, thresholds in the metric's base unit."""

    id = serializers.IntegerField()
    slug = serializers.CharField()
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=["fleet", "cluster", "tenant"])
    metric = serializers.CharField()
    comparison = serializers.ChoiceField(choices=AlertRule.Comparison.choices)
    threshold = serializers.FloatField()
    clear_threshold = serializers.FloatField(allow_null=True)
    for_seconds = serializers.IntegerField()
    keep_firing_seconds = serializers.IntegerField()
    cluster = serializers.CharField(allow_null=True)
    plan = serializers.CharField(allow_null=True)
    tenant = serializers.UUIDField(allow_null=True)
    severity = serializers.ChoiceField(choices=Severity.choices)
    summary = serializers.CharField()
    description = serializers.CharField()
    runbook = serializers.CharField()
    runbook_url = serializers.CharField()
    enabled = serializers.BooleanField()
    silenced_until = serializers.DateTimeField(allow_null=True)
    silenced_by = serializers.CharField()
    silenced_reason = serializers.CharField()
    shipped = serializers.BooleanField(help_text="It comes with the product.")
    edited = serializers.ListField(child=serializers.CharField(), help_text="What was changed of it and stays so.")
    evaluated_at = serializers.DateTimeField(allow_null=True)
    trouble = serializers.CharField(help_text="Why the last evaluation had no figures.")

    def to_representation(self, instance: AlertRule) -> dict[str, Any]:
        """As commands show it."""
        return super().to_representation(represent.rule(instance))


class ChannelSerializer(serializers.Serializer[Any]):
    """Who is told; never by which URL."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=NotificationChannel.Kind.choices)
    enabled = serializers.BooleanField()
    place = serializers.CharField(help_text="Addresses, or the URL's host.")
    min_severity = serializers.ChoiceField(choices=Severity.choices)
    send_resolved = serializers.BooleanField()
    cluster = serializers.CharField(allow_null=True)
    plan = serializers.CharField(allow_null=True)
    tenant = serializers.UUIDField(allow_null=True)
    signed = serializers.BooleanField()
    worked_at = serializers.DateTimeField(allow_null=True)
    failed_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()

    def to_representation(self, instance: NotificationChannel) -> dict[str, Any]:
        """As commands show it."""
        return super().to_representation(represent.channel(instance))


class TestedSerializer(serializers.Serializer[Any]):
    """That a test message went out."""

    status = serializers.IntegerField(allow_null=True, help_text="What the server answered; null of e-mail.")
