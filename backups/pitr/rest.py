"""REST: one tenant as it was at a moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backups.pitr import services
from tenants.models import Operation, Tenant
from tenants.rest.context import actor_of, bound_tenant, source_of
from tenants.rest.fields import StrictBooleanField, StrictSerializer, TextField
from tenants.rest.views import ApiView
from tenants.serializers import OperationSerializer, ReasonField, SlugField
from tenants.views import accepted

LOOK = {"to": "2026-11-23T10:15:00Z", "target": "new", "slug": "shop-at-ten", "reason": "what was there before?"}
BACK = {"to": "2026-11-23T10:15:00Z", "target": "same", "confirm_slug": "shop", "reason": "wrong DELETE"}
FOREIGN = {
    "new": ("confirm_slug", "backup_before"),
    "same": ("slug",),
    "backup": ("slug", "confirm_slug", "backup_before"),
}
NEEDED = {"new": ("slug",), "same": ("confirm_slug", "reason"), "backup": ()}


class MomentField(serializers.CharField):
    """A time with its zone, in ISO 8601."""

    def to_internal_value(self, data: Any) -> Any:
        """Raises ValidationError for what is none."""
        try:
            found = datetime.fromisoformat(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError("This is no time.", code="invalid") from error
        if found.tzinfo is None:
            raise serializers.ValidationError("The time needs a zone.", code="invalid")
        return found


class RecoverSerializer(StrictSerializer):
    """The moment, and what becomes of the tenant as it was then."""

    to = MomentField(help_text="The moment, with its zone: 2026-11-23T10:15:00Z.")
    target = serializers.ChoiceField(
        choices=["new", "same", "backup"], help_text="A new tenant, the same in place, or only a backup."
    )
    slug = SlugField(required=False, help_text="The new tenant's.")
    confirm_slug = TextField(required=False, max_length=40, help_text="The tenant's slug, once more.")
    backup_before = StrictBooleanField(
        required=False, help_text="Back up the present state first (if left out), or do not."
    )
    reason = ReasonField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError for what does not belong to the target, and for what is missing."""
        target = attrs["target"]
        for name in FOREIGN[target]:
            if name in attrs:
                raise serializers.ValidationError({name: f"This is not for the target {target}."})
        for name in NEEDED[target]:
            if not attrs.get(name):
                raise serializers.ValidationError({name: serializers.ErrorDetail("This is needed.", code="required")})
        return attrs


class TenantRestore(ApiView):
    """Bringing a tenant back as it was."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:restore"}
    confirmed_methods = frozenset({"POST"})
    required_permissions = {"POST": "backups.restore_backup"}

    @extend_schema(
        operation_id="restore_tenant",
        request=RecoverSerializer,
        responses={202: OperationSerializer},
        examples=[
            OpenApiExample("into a new tenant", value=LOOK, request_only=True),
            OpenApiExample("in place", value=BACK, request_only=True),
        ],
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Recover it to a moment, by a worker, where its cluster has a WAL archive (`archive` of the cluster tells
        which moments there are).

        Poll `Location`. The operation ends with a backup of that moment, `result.backup`; the restore that follows it
        is an operation of its own, `result.restore`. Should that be refused, `result.restore_refused` says why.
        """
        body = self.valid_body(RecoverSerializer, request)
        if body["target"] == "new" and bound_tenant(request) is not None:
            self.permission_denied(request, "This API key is bound to one tenant.", "tenant_bound_key")
        chosen = {name: value for name, value in body.items() if name != "target"}
        begun = services.recover_tenant(
            tenant_id=pk, into=body["target"], **chosen, actor=actor_of(request), source=source_of(request)
        )
        return accepted(begun.operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """What a request which died had begun."""
        actor = actor_of(request)
        begun = Operation.objects.filter(
            request_id__in=earlier, actor_kind=actor.kind, actor_id=actor.id, channel="rest", kind="backup.recover",
            tenant_id=self.kwargs["pk"],
        ).order_by("created_at").last()  # fmt: skip
        return accepted(begun) if begun else None
