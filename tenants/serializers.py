"""What the registry's objects look like from outside, and what may be said about them."""

from __future__ import annotations

import functools
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.identifiers import MAX_LABEL_VALUE, MAX_LABELS, MAX_NAME_LENGTH, check_labels, check_name, check_slug
from tenants.models import AuditEvent, Cluster, Operation, Plan, Pooler, Tenant, Tier
from tenants.models.isolation import LogPlace
from tenants.models.plans import LIMITS
from tenants.rest.fields import CheckedField, StrictSerializer, TextField, WholeNumberField, checked

MAX_REASON = 500
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
NUMBERS = {"type": "object", "additionalProperties": {"type": "integer"}}
ANYTHING = {"type": "object", "additionalProperties": {}}
LABELS = {
    "type": "object",
    "maxProperties": MAX_LABELS,
    "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_VALUE},
    "description": "Keys have 1 to 63 characters of a-z, 0-9, '.', '_', '/' and '-'.",
}
SLUG = {"type": "string", "minLength": 3, "maxLength": 40, "pattern": "^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,38}[a-z0-9]$"}
LIMITS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        name: {"type": "integer", "format": "int64", "minimum": low, "maximum": high}
        for name, (low, high) in LIMITS.items()
    },
}


@extend_schema_field(LABELS)
class LabelsField(serializers.Field[Any, Any, Any, Any]):
    """Small texts by name."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Raises ValidationError."""
        return checked(check_labels, data)

    def to_representation(self, value: Any) -> Any:
        """As stored."""
        return value


class LimitsSerializer(StrictSerializer):
    """Where a tenant's limits differ from its plan's."""

    def get_fields(self) -> dict[str, Any]:
        """One for each limit there is."""
        return {
            name: WholeNumberField(required=False, min_value=low, max_value=high)
            for name, (low, high) in LIMITS.items()
        }


@extend_schema_field(LIMITS_SCHEMA)
class LimitsField(serializers.Field[Any, Any, Any, Any]):
    """Limits by name: whole numbers within their bounds."""

    def to_internal_value(self, data: Any) -> dict[str, int]:
        """Raises ValidationError naming each limit that is wrong."""
        return LimitsSerializer().run_validation(data)

    def to_representation(self, value: Any) -> Any:
        """As stored."""
        return value


@extend_schema_field(SLUG)
class SlugField(CheckedField):
    """A tenant's slug."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(check=check_slug, **kwargs)


class NameField(CheckedField):
    """A name for people."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(check=check_name, **{"max_length": MAX_NAME_LENGTH, **kwargs})


class ReasonField(TextField):
    """Why; it goes into the audit log."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": MAX_REASON, "allow_blank": True, "required": False, **kwargs})


class ActorSerializer(serializers.Serializer[Any]):
    """Who did it."""

    kind = serializers.CharField(source="actor_kind", help_text="user, api_key, command, system or anonymous.")
    id = serializers.CharField(source="actor_id")
    label = serializers.CharField(source="actor_label")  # type: ignore[assignment]


class TenantLinksSerializer(serializers.Serializer[Any]):
    """Where to go from here."""

    self = serializers.CharField()
    operations = serializers.CharField()


class TenantSerializer(serializers.Serializer[Any]):
    """A tenant."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=Tenant.State.choices)
    state_reason = serializers.CharField(help_text="Why it is in this state.")
    schema_name = serializers.CharField()
    cluster = serializers.CharField(source="cluster.server.name")
    isolation_tier = serializers.ChoiceField(
        source="plan.isolation_tier", choices=Tier.choices, help_text="What it has for itself."
    )
    template = serializers.CharField()
    template_version = serializers.IntegerField()
    plan = serializers.CharField(source="plan.slug")
    labels = LabelsField()
    limits = LimitsField(help_text="Where it differs from its plan.")
    effective_limits = serializers.SerializerMethodField(help_text="What holds: the plan's limits and its own.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(allow_null=True, help_text="When a deleted tenant is destroyed.")
    links = serializers.SerializerMethodField()

    @extend_schema_field(LIMITS_SCHEMA)
    def get_effective_limits(self, tenant: Tenant) -> dict[str, int]:
        """The plan's limits with the tenant's own laid over them."""
        return tenant.effective_limits()

    @extend_schema_field(TenantLinksSerializer)
    def get_links(self, tenant: Tenant) -> dict[str, str]:
        """Paths on this server."""
        return {"self": tenant_url(tenant), "operations": f"{_list_url('operation')}?tenant={tenant.pk}"}


@functools.cache
def _list_url(kind: str) -> str:
    return reverse(f"{kind}-list")


def tenant_url(tenant: Tenant) -> str:
    """The tenant's path."""
    return f"{_list_url('tenant')}/{tenant.pk}"


def operation_url(operation: Operation) -> str:
    """The operation's path."""
    return f"{_list_url('operation')}/{operation.pk}"


class OperationErrorSerializer(serializers.Serializer[Any]):
    """Why it failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class OperationLinksSerializer(serializers.Serializer[Any]):
    """Where to go from here."""

    self = serializers.CharField()
    tenant = serializers.CharField(allow_null=True)
    credentials = serializers.CharField(
        allow_null=True, help_text="POST here, once, for credentials that nobody was given; null when there are none."
    )


class OperationSummarySerializer(serializers.Serializer[Any]):
    """Something that is being done, or was."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(choices=Operation.State.choices)
    progress = serializers.IntegerField(min_value=0, max_value=100, help_text="Per cent.")
    tenant = serializers.UUIDField(source="tenant_id", allow_null=True)
    tenant_slug = serializers.SerializerMethodField()
    cluster = serializers.SerializerMethodField()
    actor = ActorSerializer(source="*")
    request_id = serializers.CharField()
    reason = serializers.CharField()
    attempt = serializers.IntegerField()
    result = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    retry_of = serializers.UUIDField(source="retry_of_id", allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    links = serializers.SerializerMethodField()

    @extend_schema_field({"type": "string", "nullable": True})
    def get_tenant_slug(self, operation: Operation) -> str | None:
        """The tenant's slug."""
        return operation.tenant.slug if operation.tenant else None

    @extend_schema_field({"type": "string", "nullable": True})
    def get_cluster(self, operation: Operation) -> str | None:
        """The cluster's name."""
        return operation.cluster.name if operation.cluster else None

    @extend_schema_field(ANYTHING)
    def get_result(self, operation: Operation) -> dict[str, Any]:
        """What came of it."""
        return operation.result or {}

    @extend_schema_field(OperationErrorSerializer(allow_null=True))
    def get_error(self, operation: Operation) -> dict[str, str] | None:
        """Why it failed, or last failed."""
        if not operation.error:
            return None
        return {"code": str(operation.error.get("code", "")), "message": str(operation.error.get("message", ""))}

    @extend_schema_field(OperationLinksSerializer)
    def get_links(self, operation: Operation) -> dict[str, str | None]:
        """Paths on this server."""
        waiting = operation.result.get("credentials") == "uncollected" or (
            operation.kind == "tenant.provision" and operation.is_open
        )
        return {
            "self": operation_url(operation),
            "tenant": tenant_url(operation.tenant) if operation.tenant else None,
            "credentials": f"{operation_url(operation)}/credentials" if waiting else None,
        }


class OperationStepSerializer(serializers.Serializer[Any]):
    """One step of an operation."""

    name = serializers.CharField()
    state = serializers.CharField()
    attempt = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField()


class OperationSerializer(OperationSummarySerializer):
    """Something that is being done, or was, with its steps."""

    steps = OperationStepSerializer(many=True)


class EmptySerializer(StrictSerializer):
    """Nothing to say: an empty body or an empty object."""


class ReasonSerializer(StrictSerializer):
    """Why, for the audit log."""

    reason = ReasonField()


class AuditSourceSerializer(serializers.Serializer[Any]):
    """Where it came from."""

    channel = serializers.CharField()
    ip = serializers.CharField(allow_null=True)
    request_id = serializers.CharField()


class AuditTargetSerializer(serializers.Serializer[Any]):
    """What it was done to."""

    type = serializers.CharField(source="target_type")
    id = serializers.CharField(source="target_id")
    label = serializers.CharField(source="target_label")  # type: ignore[assignment]


class AuditEventSerializer(serializers.Serializer[Any]):
    """One line of the audit log."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    action = serializers.CharField()
    outcome = serializers.ChoiceField(choices=AuditEvent.Outcome.choices)
    actor = ActorSerializer(source="*")
    source = AuditSourceSerializer(source="*")  # type: ignore[assignment]
    tenant = serializers.UUIDField(source="tenant_id", allow_null=True)
    tenant_slug = serializers.CharField()
    target = AuditTargetSerializer(source="*")
    before = serializers.SerializerMethodField()
    after = serializers.SerializerMethodField()
    reason = serializers.CharField()

    @extend_schema_field({**ANYTHING, "nullable": True})
    def get_before(self, event: Any) -> Any:
        """What was there before."""
        return event.before

    @extend_schema_field({**ANYTHING, "nullable": True})
    def get_after(self, event: Any) -> Any:
        """What was there after."""
        return event.after


class LogWatchSerializer(serializers.Serializer[Any]):
    """The watch over a log for attempts at other tenants."""

    is_watched = serializers.BooleanField()
    read_from = serializers.ChoiceField(
        source="source",
        choices=LogPlace.Source.choices,
        allow_blank=True,
        help_text="How it is read; empty when it never was.",
    )
    reason = serializers.CharField(help_text="Why it is not watched.")
    seen_at = serializers.DateTimeField(allow_null=True)


class PoolerSerializer(serializers.Serializer[Any]):
    """The PgBouncer in front of a cluster."""

    host = serializers.CharField()
    port = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Pooler.State.choices)
    version = serializers.CharField()
    direct_wanted = serializers.CharField(help_text="Whether tenants may also connect to the server: open or closed.")
    direct_found = serializers.CharField(help_text="What the last try found; empty without a tenant to try with.")
    warnings = serializers.SerializerMethodField()
    facts = serializers.SerializerMethodField(help_text="Clients, servers and waiting at the last check.")
    checked_at = serializers.DateTimeField(allow_null=True)
    applied_at = serializers.DateTimeField(allow_null=True, help_text="When its configuration was last written.")
    log_watch = serializers.SerializerMethodField(help_text="The watch over its own log for failed logins.")
    last_error = serializers.CharField(help_text="Why the last check failed; empty when it did not.")

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_warnings(self, pooler: Any) -> list[str]:
        """What to know of its version."""
        return pooler.warnings()

    @extend_schema_field(LogWatchSerializer(allow_null=True))
    def get_log_watch(self, pooler: Any) -> Any:
        """Whether failed logins are seen."""
        watch = getattr(pooler, "log_watch", None)
        return None if watch is None else LogWatchSerializer(watch).data

    @extend_schema_field(ANYTHING)
    def get_facts(self, pooler: Any) -> Any:
        """Numbers by name."""
        return pooler.facts


class AuditCheckpointSerializer(serializers.Serializer[Any]):
    """The end of the chain, signed."""

    number = serializers.IntegerField()
    seq = serializers.IntegerField()
    at = serializers.DateTimeField()
    document = serializers.CharField(help_text="What was signed, with its signature, as it lies in the places outside.")


class AuditPlaceSerializer(serializers.Serializer[Any]):
    """A place outside that gets the checkpoints."""

    url = serializers.CharField()
    delivered = serializers.IntegerField(help_text="The number of the last checkpoint it has.")
    last_error = serializers.CharField()


class AuditVerificationSerializer(serializers.Serializer[Any]):
    """What a verification found."""

    finished_at = serializers.DateTimeField()
    ok = serializers.BooleanField()
    full = serializers.BooleanField(help_text="Whether all of the log was read.")
    from_seq = serializers.IntegerField()
    to_seq = serializers.IntegerField()
    events = serializers.IntegerField()
    findings = serializers.ListField(child=serializers.DictField())
    notices = serializers.ListField(child=serializers.CharField())


class AuditLogSerializer(serializers.Serializer[Any]):
    """How the audit log is doing."""

    log = serializers.UUIDField()
    seq = serializers.IntegerField(help_text="The number of the last sealed event.")
    hash = serializers.CharField(help_text="The chain's hash there, in hex.")
    waiting = serializers.IntegerField(help_text="Events that wait for their seals, counted up to 100,000.")
    waiting_since = serializers.DateTimeField(allow_null=True)
    public_keys = serializers.ListField(child=serializers.CharField(), help_text="Whose signatures are believed.")
    checkpoint = AuditCheckpointSerializer(allow_null=True)
    places = AuditPlaceSerializer(many=True)
    last_verification = AuditVerificationSerializer(allow_null=True)
    last_full_verification = AuditVerificationSerializer(allow_null=True)


class ReaperSerializer(serializers.Serializer[Any]):
    """The watch over a cluster that ends tenants' sessions by rule."""

    is_watching = serializers.BooleanField()
    seen_at = serializers.DateTimeField(allow_null=True)
    ended = serializers.SerializerMethodField(help_text="Sessions ended so far, by rule.")
    last_error = serializers.CharField()

    @extend_schema_field(NUMBERS)
    def get_ended(self, reaper: Any) -> Any:
        """Numbers by rule."""
        return reaper.ended


class IsolationCheckSerializer(serializers.Serializer[Any]):
    """The last proof that tenants of a cluster are kept apart."""

    started_at = serializers.DateTimeField()
    seconds = serializers.FloatField()
    ok = serializers.BooleanField(help_text="It was carried out, and nothing critical is open.")
    schemas = serializers.IntegerField()
    probed = serializers.IntegerField(help_text="Tenants whose own login tried.")
    critical = serializers.IntegerField()
    warnings = serializers.IntegerField()
    error = serializers.CharField()


class ArchiveSerializer(serializers.Serializer[Any]):
    """A cluster's WAL archive: between which moments its tenants can be brought back."""

    state = serializers.CharField(help_text="restart_needed, active or disabled.")
    earliest = serializers.DateTimeField(allow_null=True, help_text="The end of the oldest base backup.")
    latest = serializers.DateTimeField(
        allow_null=True,
        help_text="Up to when WAL was in the archive at the last look; what is later is archived on demand.",
    )
    checked_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()


class ClusterSerializer(serializers.Serializer[Any]):
    """A cluster: a database that tenants live in. Addresses are those that tenants use; no credentials."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.BooleanField()
    state = serializers.ChoiceField(choices=Cluster.State.choices)
    dedicated = serializers.BooleanField(help_text="It holds one tenant alone, or is reserved for one.")
    dedicated_to = serializers.UUIDField(source="dedicated_to_id", allow_null=True, help_text="That tenant.")
    host_cluster = serializers.SerializerMethodField(
        help_text="For a tenant's own database: the cluster on whose server it is."
    )
    host = serializers.SerializerMethodField()
    port = serializers.SerializerMethodField()
    pooler = serializers.SerializerMethodField(help_text="What tenants connect through, if there is one.")
    reaper = serializers.SerializerMethodField(help_text="The watch over tenants' sessions there.")
    isolation_check = serializers.SerializerMethodField(help_text="The last proof that its tenants are kept apart.")
    log_watch = serializers.SerializerMethodField(help_text="The watch over its log for attempts.")
    archive = serializers.SerializerMethodField(help_text="Its WAL archive, if it has one.")
    server_version = serializers.CharField()
    extensions = serializers.SerializerMethodField()
    pool_target = serializers.IntegerField()
    max_parallel = serializers.IntegerField()
    isolation_level = serializers.CharField(
        help_text="How closed its catalog was at the last check: open, baseline, lockdown or sealed; empty before one."
    )
    warnings = serializers.SerializerMethodField()
    checked_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(help_text="Why the last check failed; empty when it did not.")
    created_at = serializers.DateTimeField()

    @extend_schema_field({"type": "string", "nullable": True})
    def get_host_cluster(self, cluster: Any) -> str | None:
        """Its name."""
        return cluster.host_cluster.name if cluster.host_cluster else None

    @extend_schema_field({"type": "string"})
    def get_host(self, cluster: Any) -> str:
        """What tenants connect to."""
        return cluster.public_address()[0]

    @extend_schema_field({"type": "integer"})
    def get_port(self, cluster: Any) -> int:
        """What tenants connect to."""
        return cluster.public_address()[1]

    @extend_schema_field(ReaperSerializer(allow_null=True))
    def get_reaper(self, cluster: Any) -> Any:
        """When it last looked, and what it did."""
        reaper = getattr(cluster, "reaper", None)
        return None if reaper is None else ReaperSerializer(reaper).data

    @extend_schema_field(IsolationCheckSerializer(allow_null=True))
    def get_isolation_check(self, cluster: Any) -> Any:
        """Its result and time."""
        checks = cluster.latest_checks if hasattr(cluster, "latest_checks") else cluster.isolation_checks.all()[:1]
        return IsolationCheckSerializer(checks[0]).data if checks else None

    @extend_schema_field(LogWatchSerializer(allow_null=True))
    def get_log_watch(self, cluster: Any) -> Any:
        """Whether attempts are seen."""
        watch = getattr(cluster, "log_watch", None)
        return None if watch is None else LogWatchSerializer(watch).data

    @extend_schema_field(ArchiveSerializer(allow_null=True))
    def get_archive(self, cluster: Any) -> Any:
        """Which moments can be recovered."""
        archive = getattr(cluster, "archive", None)
        return None if archive is None else ArchiveSerializer(archive).data

    @extend_schema_field(PoolerSerializer(allow_null=True))
    def get_pooler(self, cluster: Any) -> Any:
        """Its address, and what the last check found."""
        pooler = getattr(cluster, "pooler", None)
        return None if pooler is None else PoolerSerializer(pooler).data

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_warnings(self, cluster: Any) -> list[str]:
        """What is amiss with its isolation: a level below the one it was prepared for, missing security fixes."""
        return [text for text in (cluster.isolation_warning, cluster.patch_warning) if text]

    @extend_schema_field(ANYTHING)
    def get_extensions(self, cluster: Any) -> Any:
        """Version and schema by name."""
        return cluster.extensions


class PlanSerializer(serializers.Serializer[Any]):
    """What tenants may use. Times in milliseconds, sizes in bytes or kB, as the names say."""

    slug = serializers.CharField()
    name = serializers.CharField()
    is_default = serializers.BooleanField()
    isolation_tier = serializers.ChoiceField(
        choices=Tier.choices, help_text="What its tenants have for themselves: a schema, a database, a cluster."
    )
    limits = serializers.SerializerMethodField()
    rotation_jitter_days = serializers.IntegerField(help_text="How much before `rotation_max_age_days`, at most.")
    rotation_overlap_minutes = serializers.IntegerField()
    rotation_deadline_days = serializers.IntegerField(help_text="After the overlap: when an old login closes anyway.")
    on_violation = serializers.ChoiceField(
        choices=Plan.OnViolation.choices, allow_blank=True,
        help_text="What happens to a tenant found to reach what is not its own; empty: as the installation says.",
    )  # fmt: skip
    purge_needs_approval = serializers.BooleanField(help_text="A purge waits for a second person.")
    grace_days = serializers.IntegerField()

    @extend_schema_field(LIMITS_SCHEMA)
    def get_limits(self, plan: Any) -> dict[str, int]:
        """What a tenant's own limits may override."""
        return plan.limits()
