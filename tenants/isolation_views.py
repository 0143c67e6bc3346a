"""REST: what the proof of isolation found, and attempts at what is not a tenant's."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.models import IsolationAttempt, IsolationFinding
from tenants.models.isolation import Severity
from tenants.rest.filters import StrictFilterBackend
from tenants.views import ListView


class IsolationFindingFilter(filters.FilterSet):
    """Findings."""

    cluster = filters.CharFilter(field_name="cluster__name", max_length=40, help_text="The cluster's name.")
    tenant = filters.UUIDFilter(field_name="tenant_id", help_text="The tenant's id.")
    severity = filters.ChoiceFilter(choices=Severity.choices)
    state = filters.ChoiceFilter(
        method="by_state", choices=[("open", "open"), ("resolved", "resolved")],
        help_text="Whether a check still finds it.",
    )  # fmt: skip

    class Meta:
        model = IsolationFinding
        fields: tuple[str, ...] = ()

    def by_state(self, queryset: QuerySet[IsolationFinding], name: str, value: str) -> QuerySet[IsolationFinding]:
        """Open or resolved."""
        return queryset.filter(resolved_at__isnull=value == "open")


class IsolationAttemptFilter(filters.FilterSet):
    """Attempts."""

    cluster = filters.CharFilter(field_name="cluster__name", max_length=40, help_text="The cluster's name.")
    attacker = filters.UUIDFilter(field_name="attacker_id", help_text="The id of the tenant that tried.")
    target = filters.UUIDFilter(field_name="target_id", help_text="The id of the tenant that was aimed at.")

    class Meta:
        model = IsolationAttempt
        fields: tuple[str, ...] = ()


class IsolationFindingSerializer(serializers.Serializer[Any]):
    """Something that breaks a rule of isolation, or did."""

    id = serializers.IntegerField()
    cluster = serializers.CharField(source="cluster.name")
    tenant = serializers.UUIDField(source="tenant_id", allow_null=True)
    code = serializers.CharField()
    severity = serializers.CharField(help_text="`critical`: somebody can reach what is not theirs; or `warning`.")
    schema_name = serializers.CharField(help_text="Where it is; empty: in the whole database.")
    offender = serializers.CharField(help_text="The schema whose logins reach too far by it; empty: all, or nobody.")
    subject = serializers.CharField()
    detail = serializers.CharField()
    first_seen_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True, help_text="When a check did not find it any more.")


class IsolationAttemptSerializer(serializers.Serializer[Any]):
    """Attempts of one kind at one target from one place, counted while they follow each other."""

    id = serializers.IntegerField()
    cluster = serializers.CharField(source="cluster.name")
    kind = serializers.CharField(help_text="foreign_object, control_plane, escalation, database or login.")
    attacker = serializers.UUIDField(source="attacker_id", allow_null=True)
    login = serializers.CharField(help_text="Who tried; empty when nobody got in.")
    target = serializers.UUIDField(source="target_id", allow_null=True)
    target_name = serializers.CharField(help_text="The schema, role or database aimed at.")
    statement = serializers.CharField(help_text="Its kind, never its text.")
    address = serializers.CharField()
    count = serializers.IntegerField()
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()


class IsolationFindingList(ListView):
    """What breaks a rule of isolation, or did."""

    noun = "isolation finding"
    queryset = IsolationFinding.objects.select_related("cluster")
    serializer_class = IsolationFindingSerializer
    filterset_class = IsolationFindingFilter
    filter_backends = [StrictFilterBackend]
    ordering = ("first_seen_at", "id")
    required_scopes = {"GET": "clusters:read"}
    required_permissions = {"GET": "tenants.view_isolationfinding"}

    @extend_schema(operation_id="list_isolation_findings", responses=IsolationFindingSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of findings, newest first."""
        return self.list_page(request)


class IsolationAttemptList(ListView):
    """Who tried to get at what is not theirs."""

    noun = "isolation attempt"
    queryset = IsolationAttempt.objects.select_related("cluster")
    serializer_class = IsolationAttemptSerializer
    filterset_class = IsolationAttemptFilter
    filter_backends = [StrictFilterBackend]
    ordering = ("first_at", "id")
    required_scopes = {"GET": "clusters:read"}
    required_permissions = {"GET": "tenants.view_isolationattempt"}

    @extend_schema(operation_id="list_isolation_attempts", responses=IsolationAttemptSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of attempts, newest first."""
        return self.list_page(request)
