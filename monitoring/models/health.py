"""What looks at tenants found that nobody knows without looking, until the next ones."""

from __future__ import annotations

from django.db import models

from tenants.models import Tenant


class TenantLook(models.Model):
    """The last look of one kind at one tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="looks")
    name = models.CharField(max_length=40)
    taken_at = models.DateTimeField()
    status = models.CharField(max_length=8)
    reason = models.CharField(max_length=500, blank=True)
    next_step = models.CharField(max_length=300, blank=True)
    value = models.FloatField(null=True, blank=True)
    limit = models.FloatField(null=True, blank=True)
    unit = models.CharField(max_length=20, blank=True)

    class Meta:
        ordering = ["tenant", "name"]
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="tenant_look_once")]

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant_id}"
