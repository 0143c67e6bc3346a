"""What lists can be narrowed down by."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.db.models import Q, QuerySet
from rest_framework import serializers

from tenants.ledger.actions import known_actions
from tenants.models import AuditEvent, Cluster, Operation, Tenant, Tier


class TenantFilter(filters.FilterSet):
    """Tenants."""

    state = filters.ChoiceFilter(choices=Tenant.State.choices)
    plan = filters.CharFilter(field_name="plan__slug", max_length=40, help_text="The plan's slug.")
    cluster = filters.CharFilter(method="on_cluster", max_length=40, help_text="The cluster's name.")
    isolation_tier = filters.ChoiceFilter(field_name="plan__isolation_tier", choices=Tier.choices)
    template = filters.CharFilter(max_length=63, help_text="The template's name.")
    slug = filters.CharFilter(max_length=40)
    q = filters.CharFilter(method="search", max_length=120, help_text="Part of the name or the slug.")
    label = filters.CharFilter(method="with_label", max_length=200, help_text="`key:value`.")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Tenant
        fields: tuple[str, ...] = ()

    def search(self, queryset: QuerySet[Tenant], name: str, value: str) -> QuerySet[Tenant]:
        """Name or slug contains `value`, whatever its case."""
        return queryset.filter(Q(name__icontains=value) | Q(slug__icontains=value))

    def on_cluster(self, queryset: QuerySet[Tenant], name: str, value: str) -> QuerySet[Tenant]:
        """Lives there, in a database of its own on that server too."""
        return queryset.filter(Q(cluster__name=value) | Q(cluster__host_cluster__name=value))

    def with_label(self, queryset: QuerySet[Tenant], name: str, value: str) -> QuerySet[Tenant]:
        """Has the label `key` with exactly this value. Raises ValidationError for what is no pair."""
        key, colon, text = value.partition(":")
        if not key or not colon:
            raise serializers.ValidationError({name: ["This is written `key:value`."]}, code="invalid")
        return queryset.filter(labels__contains={key: text})


YES_NO = [("true", "true"), ("false", "false")]


class ClusterFilter(filters.FilterSet):
    """Clusters. Tenants' own databases are left out unless they are asked for."""

    dedicated = filters.ChoiceFilter(
        choices=YES_NO, method="reserved", help_text="true: reserved for one tenant, or one's own; false: for all."
    )
    own_databases = filters.ChoiceFilter(
        choices=YES_NO, method="with_own_databases", help_text="true: tenants' own databases, and nothing else."
    )

    class Meta:
        model = Cluster
        fields: tuple[str, ...] = ()

    def filter_queryset(self, queryset: QuerySet[Cluster]) -> QuerySet[Cluster]:
        """Registered ones, unless the others are asked for."""
        wanted = self.form.cleaned_data.get("own_databases") == "true"
        return super().filter_queryset(queryset.filter(host_cluster__isnull=not wanted))

    def reserved(self, queryset: QuerySet[Cluster], name: str, value: str) -> QuerySet[Cluster]:
        """For one tenant, or for all."""
        return queryset.filter(dedicated=value == "true")

    def with_own_databases(self, queryset: QuerySet[Cluster], name: str, value: str) -> QuerySet[Cluster]:
        """Seen to above, since it holds when nothing is said too."""
        return queryset


class OperationFilter(filters.FilterSet):
    """Operations."""

    state = filters.ChoiceFilter(choices=Operation.State.choices)
    kind = filters.CharFilter(max_length=40, help_text="For example tenant.provision.")
    tenant = filters.UUIDFilter(field_name="tenant_id", help_text="The tenant's id.")

    class Meta:
        model = Operation
        fields: tuple[str, ...] = ()


class AuditEventFilter(filters.FilterSet):
    """The audit log."""

    action = filters.CharFilter(
        method="by_action",
        max_length=60,
        help_text="For example tenant.suspend; or an area: tenant.",
    )
    tenant = filters.UUIDFilter(field_name="tenant_id", help_text="The tenant's id.")
    actor = filters.CharFilter(method="by_actor", max_length=150, help_text="A label, or `kind:id`.")
    channel = filters.CharFilter(max_length=12, help_text="admin, rest, command, beat or worker.")
    request_id = filters.CharFilter(max_length=64, help_text="What the request was called everywhere.")
    target = filters.CharFilter(field_name="target_id", max_length=64, help_text="The id of what it was done to.")
    outcome = filters.ChoiceFilter(choices=AuditEvent.Outcome.choices)
    since = filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")

    class Meta:
        model = AuditEvent
        fields: tuple[str, ...] = ()

    def by_action(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Events of one action, or of an area (`tenant.`)."""
        if not value.endswith("."):
            return queryset.filter(action=value)
        return queryset.filter(action__in=[action for action in known_actions() if action.startswith(value)])

    def by_actor(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Events of one actor."""
        kind, colon, number = value.partition(":")
        wanted = Q(actor_label=value)
        return queryset.filter(wanted | Q(actor_kind=kind, actor_id=number) if colon else wanted)
