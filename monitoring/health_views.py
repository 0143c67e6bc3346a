"""REST: how a tenant is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.cache import cache
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.health import Health, live_health, tenant_health
from tenants.exceptions import InvalidInput, NotFound
from tenants.health import Status
from tenants.models import Tenant
from tenants.rest.fields import represent
from tenants.rest.views import ApiView

LIVE = OpenApiParameter(
    "live", bool, description="Look now, on the tenant's cluster; once in five seconds for each tenant."
)
LIVE_SECONDS = 5


class CheckSerializer(serializers.Serializer[Any]):
    """One thing about a tenant."""

    name = serializers.CharField()
    status = serializers.ChoiceField(choices=[str(one) for one in Status])
    value = serializers.FloatField(allow_null=True, help_text="In its unit.")
    limit = serializers.FloatField(allow_null=True, help_text="What the value is held against, where there is such.")
    unit = serializers.CharField()
    taken_at = serializers.DateTimeField(allow_null=True, help_text="When that was so; null: nobody has looked.")
    reason = serializers.CharField()
    next_step = serializers.CharField(help_text="What to do; empty when there is nothing to do.")


class HealthSerializer(serializers.Serializer[Any]):
    """How a tenant is: the worst of its checks; critical before warning before unknown before ok."""

    tenant = serializers.UUIDField(source="tenant.pk")
    slug = serializers.CharField(source="tenant.slug")
    status = serializers.ChoiceField(choices=[str(one) for one in Status])
    live = serializers.BooleanField(help_text="Whether it was looked at now.")
    at = serializers.DateTimeField(help_text="When this was put together; each check says when it was so.")
    checks = CheckSerializer(many=True)


def health_document(health: Health) -> dict[str, Any]:
    """It, for REST and commands."""
    document: dict[str, Any] = represent(HealthSerializer, health)
    return document


class TenantHealth(ApiView):
    """How one tenant is."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.select_related("plan", "cluster")
    serializer_class = HealthSerializer
    query_parameters = frozenset({"live"})
    required_scopes = {"GET": "tenants:read"}
    required_permissions = {"GET": "tenants.view_tenant"}
    problem_statuses = {"GET": (429,)}

    def _known_parameters(self, request: Request) -> set[str]:
        return set(self.query_parameters)

    @extend_schema(operation_id="get_tenant_health", parameters=[LIVE], responses=HealthSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """How a tenant is, from samples; with `live=true` looked at now. Each check says when that was so."""
        live = request.query_params.get("live", "false")
        if live not in ("true", "false"):
            raise InvalidInput("live is true or false.", field="live")
        rows = self.get_queryset()
        if live == "true":  # then there are logins to know
            rows = rows.select_related("cluster__host_cluster", "cluster__provisioner")
        tenant = rows.filter(pk=pk).first()
        if tenant is None:
            raise NotFound(f"There is no tenant {pk}.")
        if live == "true" and not cache.add(f"controlplane:health-live:{pk}", True, timeout=LIVE_SECONDS):
            raise exceptions.Throttled(LIVE_SECONDS)
        health = live_health(tenant=tenant) if live == "true" else tenant_health(tenant=tenant)
        return Response(health_document(health))
