"""What a tenant may use."""

from __future__ import annotations

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

MIN_CONNECTIONS, MAX_CONNECTIONS = 50, 500

# What a tenant's own `limits` may override, with the smallest and largest value that make sense.
LIMITS: dict[str, tuple[int, int]] = {
    "connection_limit": (MIN_CONNECTIONS, MAX_CONNECTIONS),
    "pool_size": (1, MAX_CONNECTIONS),
    "client_limit": (1, 10_000),
    "statement_timeout_ms": (100, 3_600_000),
    "idle_in_transaction_timeout_ms": (100, 3_600_000),
    "lock_timeout_ms": (10, 600_000),
    "temp_file_limit_kb": (1_024, 1_073_741_824),
    "storage_quota_bytes": (1_048_576, 1_125_899_906_842_624),
    "rotation_max_age_days": (0, 3650),
}


def _between(field: str) -> list[Any]:
    low, high = LIMITS[field]
    return [MinValueValidator(low), MaxValueValidator(high)]


def _limit(field: str) -> models.Q:
    return models.Q(**{f"{field}__range": LIMITS[field]})


class Tier(models.TextChoices):
    """How much of a server a tenant has for itself."""

    SCHEMA = "schema", "a schema in a shared database"
    DATABASE = "database", "a database of its own on a shared server"
    CLUSTER = "cluster", "a cluster of its own"


class Plan(models.Model):  # type: ignore[django-manager-missing]  # TenantMixin is untyped
    """Limits that tenants of one kind share. Times in ms, sizes in bytes or kB."""

    class OnViolation(models.TextChoices):
        """What happens to a tenant that is found to reach what is not its own."""

        AS_SET = "", "as ISOLATION_ON_VIOLATION says"
        REPORT = "report", "report it"
        SUSPEND = "suspend", "suspend it at once"

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    is_default = models.BooleanField(default=False)
    isolation_tier = models.CharField(
        max_length=8,
        choices=Tier.choices,
        default=Tier.SCHEMA,
        help_text="What its tenants have for themselves. It cannot be changed while there are any.",
    )
    connection_limit = models.PositiveIntegerField(default=50, validators=_between("connection_limit"))
    pool_size = models.PositiveIntegerField(
        default=20, validators=_between("pool_size"), help_text="Server connections of a login behind the pooler."
    )
    client_limit = models.PositiveIntegerField(
        default=200, validators=_between("client_limit"), help_text="Client connections of a login at the pooler."
    )
    statement_timeout_ms = models.PositiveIntegerField(default=30_000, validators=_between("statement_timeout_ms"))
    idle_in_transaction_timeout_ms = models.PositiveIntegerField(
        default=30_000, validators=_between("idle_in_transaction_timeout_ms")
    )
    lock_timeout_ms = models.PositiveIntegerField(default=5_000, validators=_between("lock_timeout_ms"))
    temp_file_limit_kb = models.PositiveIntegerField(default=262_144, validators=_between("temp_file_limit_kb"))
    storage_quota_bytes = models.PositiveBigIntegerField(
        default=10 * 1024**3, validators=_between("storage_quota_bytes")
    )
    rotation_max_age_days = models.PositiveIntegerField(
        default=0,
        validators=_between("rotation_max_age_days"),
        help_text="A login is rotated before it is older; 0: never by itself.",
    )
    rotation_jitter_days = models.PositiveIntegerField(
        default=7, validators=[MaxValueValidator(365)], help_text="How much earlier, at most: other for each tenant."
    )
    rotation_overlap_minutes = models.PositiveIntegerField(default=60, validators=[MaxValueValidator(43_200)])
    rotation_deadline_days = models.PositiveIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="After the overlap: an old login that is still used, or whose successor nobody has collected, is "
        "closed then.",
    )
    on_violation = models.CharField(
        max_length=8, choices=OnViolation.choices, default=OnViolation.AS_SET, blank=True,
        help_text="What happens to a tenant that is found to reach what is not its own.",
    )  # fmt: skip
    purge_needs_approval = models.BooleanField(
        default=False, help_text="A purge waits for a second person, whatever PURGE_NEEDS_APPROVAL says."
    )
    grace_days = models.PositiveIntegerField(default=7, validators=[MaxValueValidator(365)])
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["connection_limit", "slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_plan"
            ),
            models.CheckConstraint(condition=models.Q(isolation_tier__in=Tier.values), name="plan_tier"),
            *(models.CheckConstraint(condition=_limit(field), name=f"plan_{field}") for field in LIMITS),
        ]

    def __str__(self) -> str:
        return self.name

    def limits(self) -> dict[str, int]:
        """What may be overridden per tenant, by name."""
        return {field: getattr(self, field) for field in LIMITS}
