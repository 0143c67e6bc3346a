"""When tenants are backed up, and how long that is kept."""

from __future__ import annotations

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from backups.models.storages import Storage
from tenants.models import Plan, Tenant

# Whole numbers of a policy, with the smallest and largest value that make sense.
NUMBERS: dict[str, tuple[int, int]] = {
    "window_minutes": (1, 1_440),
    "jitter_minutes": (0, 1_440),
    "keep_last": (1, 1_000),
    "keep_daily": (0, 3_660),
    "keep_weekly": (0, 1_000),
    "keep_monthly": (0, 1_000),
    "keep_yearly": (0, 100),
    "min_age_days": (0, 3_650),
    "purged_keep_days": (0, 3_650),
    "unchanged_max_days": (1, 365),
    "drill_every_days": (0, 365),
    "alert_after_hours": (1, 8_760),
}
FLAGS = ("enabled", "catch_up", "skip_unchanged")
TEXTS = ("schedule", "time_zone")
# What a policy says, and what a tenant's own values may differ in.
VALUES = (*TEXTS, *FLAGS, *NUMBERS)


def _number(name: str, default: int, help_text: str) -> Any:
    low, high = NUMBERS[name]
    validators = [MinValueValidator(low), MaxValueValidator(high)]
    return models.PositiveIntegerField(default=default, validators=validators, help_text=help_text)


class BackupPolicy(models.Model):
    """What is promised to the tenants of one plan; the one without a plan holds for all plans that have none.

    A backup may begin from the moment that `schedule` names until `window_minutes` later. Tenants begin spread over
    the first `jitter_minutes` of that, each always at the same distance.
    """

    plan = models.OneToOneField(Plan, null=True, blank=True, on_delete=models.CASCADE, related_name="backup_policy")
    enabled = models.BooleanField(default=True)
    schedule = models.CharField(max_length=100, default="0 2 * * *", help_text="Cron, in the policy's time zone.")
    time_zone = models.CharField(max_length=64, default="UTC", help_text="For example Europe/Berlin.")
    window_minutes = _number("window_minutes", 240, "How long after that a backup may begin.")
    jitter_minutes = _number("jitter_minutes", 120, "Over which part of the window tenants are spread.")
    catch_up = models.BooleanField(default=True, help_text="Whether one that was missed is taken after the window.")
    skip_unchanged = models.BooleanField(
        default=True, help_text="Whether none is taken while the tenant is proven to be as it was at the last one."
    )
    unchanged_max_days = _number("unchanged_max_days", 7, "One is taken after that in any case.")
    keep_last = _number("keep_last", 3, "Of the newest.")
    keep_daily = _number("keep_daily", 14, "The last one of each of so many days.")
    keep_weekly = _number("keep_weekly", 0, "The last one of each of so many weeks.")
    keep_monthly = _number("keep_monthly", 0, "The last one of each of so many months.")
    keep_yearly = _number("keep_yearly", 0, "The last one of each of so many years.")
    min_age_days = _number("min_age_days", 1, "None is removed that is younger.")
    purged_keep_days = _number("purged_keep_days", 30, "How long after a tenant's purge its backups are kept.")
    drill_every_days = _number(
        "drill_every_days", 30, "Each tenant's backup is proven by a restore so often; 0: never."
    )
    alert_after_hours = _number("alert_after_hours", 36, "Without a good backup for so long a tenant is overdue.")
    storage = models.ForeignKey(
        Storage, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: the default one."
    )
    copies = models.ManyToManyField(Storage, blank=True, related_name="+", help_text="Where each is copied to as well.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["plan__slug"]
        verbose_name_plural = "backup policies"
        constraints = [
            models.UniqueConstraint(fields=["plan"], nulls_distinct=False, name="one_fallback_policy"),
            *(
                models.CheckConstraint(condition=models.Q(**{f"{name}__range": limits}), name=f"policy_{name}")
                for name, limits in NUMBERS.items()
            ),
            models.CheckConstraint(
                condition=models.Q(jitter_minutes__lte=models.F("window_minutes")), name="policy_jitter_in_window"
            ),
        ]

    def __str__(self) -> str:
        return self.plan.name if self.plan else "all other plans"

    def values(self) -> dict[str, Any]:
        """What it says, by name, without the storages."""
        return {name: getattr(self, name) for name in VALUES}


class PolicyOverride(models.Model):
    """Where one tenant's backups differ from its plan's policy."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="backup_override")
    values = models.JSONField(default=dict)
    storage = models.ForeignKey(Storage, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["tenant"]

    def __str__(self) -> str:
        return f"backups of {self.tenant}"
