"""REST: alerts, their rules, and who is told."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.alert_serializers import (
    AlertDetailSerializer,
    AlertRuleSerializer,
    AlertSerializer,
    ChangeRuleSerializer,
    ChannelSerializer,
    NoteSerializer,
    SilenceSerializer,
    TestedSerializer,
)
from monitoring.alerts import channels, handling, rules
from monitoring.models import Alert, AlertRule, NotificationChannel, Severity
from tenants.rest.context import actor_of, source_of
from tenants.rest.fields import represent
from tenants.rest.filters import StrictFilterBackend
from tenants.rest.views import ApiView
from tenants.views import ListView

READ, WRITE = "alerts:read", "alerts:write"


class AlertFilter(filters.FilterSet):
    """Alerts."""

    state = filters.ChoiceFilter(
        method="by_state", choices=[*Alert.State.choices, ("open", "open")], help_text="`open`: all but resolved."
    )
    severity = filters.ChoiceFilter(choices=Severity.choices)
    rule = filters.CharFilter(field_name="rule__slug", max_length=60, help_text="The rule's slug.")
    tenant = filters.UUIDFilter(field_name="tenant_id", help_text="The tenant's id.")
    cluster = filters.CharFilter(field_name="cluster__name", max_length=40, help_text="The cluster's name.")

    class Meta:
        model = Alert
        fields: tuple[str, ...] = ()

    def by_state(self, queryset: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        """One state, or all that are not over."""
        return queryset.exclude(state=Alert.State.RESOLVED) if value == "open" else queryset.filter(state=value)


class AlertList(ListView):
    """What fires, and did."""

    tenant_lookup = "tenant_id"
    noun = "alert"
    queryset = Alert.objects.select_related("rule", "cluster")
    serializer_class = AlertSerializer
    filterset_class = AlertFilter
    filter_backends = [StrictFilterBackend]
    ordering = ("created_at", "id")
    required_scopes = {"GET": READ}
    required_permissions = {"GET": "monitoring.view_alert"}

    @extend_schema(operation_id="list_alerts", responses=AlertSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of alerts, newest first."""
        return self.list_page(request)


class _OneAlert(ApiView):
    tenant_lookup = "tenant_id"
    noun = "alert"
    queryset = Alert.objects.all()
    serializer_class = AlertDetailSerializer

    def answer(self, alert: Alert) -> Response:
        """The alert with its history."""
        return Response(represent(AlertDetailSerializer, alert))


class AlertResource(_OneAlert):
    """One alert."""

    required_scopes = {"GET": READ}
    required_permissions = {"GET": "monitoring.view_alert"}

    @extend_schema(operation_id="get_alert", responses=AlertDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """An alert, its history, and who was told."""
        return self.answer(handling.get_alert(pk))


class AlertAcknowledge(_OneAlert):
    """Saying that somebody looks after it."""

    required_scopes = {"POST": WRITE}
    required_permissions = {"POST": "monitoring.acknowledge_alert"}

    @extend_schema(operation_id="acknowledge_alert", request=NoteSerializer, responses=AlertDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Acknowledge it: it is not repeated, and ends by itself."""
        body = self.valid_body(NoteSerializer, request)
        alert = handling.get_alert(pk)
        return self.answer(
            handling.acknowledge(alert=alert, **body, actor=actor_of(request), source=source_of(request))
        )


class AlertSilence(_OneAlert):
    """Telling nobody of one alert."""

    required_scopes = {"POST": WRITE}
    required_permissions = {"POST": "monitoring.silence_alertrule"}

    @extend_schema(operation_id="silence_alert", request=SilenceSerializer, responses=AlertDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Tell nobody of it for a while; null ends that."""
        body = self.valid_body(SilenceSerializer, request)
        alert = handling.get_alert(pk)
        return self.answer(
            handling.silence_alert(alert=alert, **body, actor=actor_of(request), source=source_of(request))
        )


def rules_with_names() -> QuerySet[AlertRule]:
    """Rules, with what their representation shows of others."""
    return AlertRule.objects.select_related("cluster", "plan")


class AlertRuleList(ListView):
    """What is held against which threshold."""

    noun = "alert rule"
    queryset = rules_with_names()
    serializer_class = AlertRuleSerializer
    ordering = ("id",)
    required_scopes = {"GET": READ}
    required_permissions = {"GET": "monitoring.view_alertrule"}

    @extend_schema(operation_id="list_alert_rules", responses=AlertRuleSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of rules, newest first."""
        return self.list_page(request)


class AlertRuleResource(ApiView):
    """One rule."""

    noun = "alert rule"
    queryset = AlertRule.objects.all()
    serializer_class = AlertRuleSerializer
    required_scopes = {"GET": READ, "PATCH": WRITE}
    required_permissions = {"GET": "monitoring.view_alertrule", "PATCH": "monitoring.change_alertrule"}

    @extend_schema(operation_id="get_alert_rule", responses=AlertRuleSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """A rule, and whether its last evaluation had figures."""
        return Response(represent(AlertRuleSerializer, rules.get_rule(pk)))

    @extend_schema(operation_id="change_alert_rule", request=ChangeRuleSerializer, responses=AlertRuleSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        """Change a rule; what fires is held against it at the next evaluation."""
        body: dict[str, Any] = self.valid_body(ChangeRuleSerializer, request)
        rule = rules.update_rule(
            rule=rules.get_rule(pk), changes=body, actor=actor_of(request), source=source_of(request)
        )
        return Response(represent(AlertRuleSerializer, rule))


class AlertRuleSilence(ApiView):
    """Telling nobody of a rule's alerts."""

    noun = "alert rule"
    queryset = AlertRule.objects.all()
    serializer_class = AlertRuleSerializer
    required_scopes = {"POST": WRITE}
    required_permissions = {"POST": "monitoring.silence_alertrule"}

    @extend_schema(operation_id="silence_alert_rule", request=SilenceSerializer, responses=AlertRuleSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Tell nobody of its alerts for a while; null ends that, and what still fires is told then."""
        body = self.valid_body(SilenceSerializer, request)
        rule = rules.silence_rule(rule=rules.get_rule(pk), **body, actor=actor_of(request), source=source_of(request))
        return Response(represent(AlertRuleSerializer, rule))


class ChannelList(ListView):
    """Who is told."""

    noun = "notification channel"
    queryset = NotificationChannel.objects.select_related("cluster", "plan")
    serializer_class = ChannelSerializer
    ordering = ("id",)
    required_scopes = {"GET": READ}
    required_permissions = {"GET": "monitoring.view_notificationchannel"}

    @extend_schema(operation_id="list_notification_channels", responses=ChannelSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of channels, newest first."""
        return self.list_page(request)


class ChannelTest(ApiView):
    """Trying a channel."""

    noun = "notification channel"
    queryset = NotificationChannel.objects.all()
    serializer_class = TestedSerializer
    required_scopes = {"POST": WRITE}
    required_permissions = {"POST": "monitoring.test_notificationchannel"}

    @extend_schema(operation_id="test_notification_channel", request=None, responses=TestedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Send a test message now; 502 when it could not be delivered."""
        channel = channels.get_channel(pk)
        status = channels.test_channel(channel=channel, actor=actor_of(request), source=source_of(request))
        return Response({"status": status})
