"""What the proof of isolation found, and attempts of one tenant at another."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from tenants.models.clusters import Cluster
from tenants.models.poolers import Pooler
from tenants.models.tenants import Tenant

SILENT_AFTER = timedelta(seconds=30)


class Severity(models.TextChoices):
    """`critical`: somebody can reach what is not theirs. `warning`: something is not as it was made, and reaches
    nobody by itself."""

    CRITICAL = "critical"
    WARNING = "warning"


class IsolationCheck(models.Model):
    """One proof over all schemas of a cluster: by its catalog, and by trying with some tenants' logins."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="isolation_checks")
    started_at = models.DateTimeField()
    seconds = models.FloatField(default=0)
    schemas = models.PositiveIntegerField(default=0, help_text="Schemas that the catalog was read for.")
    probed = models.PositiveIntegerField(default=0, help_text="Tenants whose login tried.")
    critical = models.PositiveIntegerField(default=0)
    warnings = models.PositiveIntegerField(default=0)
    unverified = models.JSONField(default=list, help_text="What could not be looked at, and why.")
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        indexes = [models.Index(fields=["cluster", "-started_at"], name="isolation_check_newest")]

    def __str__(self) -> str:
        return f"isolation of {self.cluster}"

    @property
    def ok(self) -> bool:
        """Whether it was carried out, nothing critical is open, and all that matters could be read (passwords' hashes
        only where a superuser has prepared the cluster)."""
        unread = [text for text in self.unverified if not text.startswith("verifiers")]
        return not (self.error or self.critical or unread)


def with_isolation(clusters: models.QuerySet[Cluster]) -> models.QuerySet[Cluster]:
    """With each cluster's last check in `latest_checks`, by one more query."""
    newest = IsolationCheck.objects.order_by("cluster_id", "-started_at", "-id").distinct("cluster_id")
    return clusters.prefetch_related(models.Prefetch("isolation_checks", queryset=newest, to_attr="latest_checks"))


class IsolationFinding(models.Model):
    """Something that breaks a rule of isolation: `open` until a check does not find it any more (`resolved_at`)."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="isolation_findings")
    schema_name = models.CharField(max_length=63, blank=True, help_text="Where it is; empty: in the whole database.")
    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="isolation_findings"
    )
    offender = models.CharField(max_length=63, blank=True, help_text="The schema whose logins can reach too far.")
    code = models.CharField(max_length=40)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    subject = models.CharField(max_length=200)
    detail = models.CharField(max_length=300, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-first_seen_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "schema_name", "offender", "code", "subject", "detail"],
                condition=models.Q(resolved_at__isnull=True),
                name="isolation_finding_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.subject}"


class TenantProbe(models.Model):
    """What a tenant's own login could do when it last tried to get at others."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="isolation_probe")
    probed_at = models.DateTimeField()
    ok = models.BooleanField()
    results = models.JSONField(default=dict, help_text="By name of the probe: denied, reached or unproven.")

    def __str__(self) -> str:
        return f"probe of {self.tenant_id}"


class LogPlace(models.Model):
    """How far a log was read for attempts, and by which way."""

    class Source(models.TextChoices):
        SQL = "sql", "over SQL"
        FILE = "file", "a file on this machine"

    source = models.CharField(max_length=4, choices=Source.choices, blank=True, editable=False)
    file = models.CharField(max_length=255, blank=True)
    offset = models.PositiveBigIntegerField(default=0)
    head = models.CharField(
        max_length=64, blank=True, help_text="Hash of the file's beginning: another file of that name has another."
    )
    seen_at = models.DateTimeField(null=True, editable=False)
    reason = models.CharField(max_length=300, blank=True, editable=False, help_text="Why it is not watched.")
    suppressed = models.PositiveBigIntegerField(default=0, help_text="Attempts beyond the rate that is written down.")

    class Meta:
        abstract = True

    @property
    def is_watched(self) -> bool:
        """Whether the log was read within the last 30 s."""
        return not self.reason and self.seen_at is not None and self.seen_at > timezone.now() - SILENT_AFTER

    @property
    def watched_how(self) -> str:
        """In words: `log watched over SQL`."""
        return f"log watched {'over SQL' if self.source == self.Source.SQL else 'in a file'}"


class LogWatch(LogPlace):
    """The watch over a server's log, for one cluster on it."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="log_watch")

    def __str__(self) -> str:
        return f"log of {self.cluster}"


class PoolerLogWatch(LogPlace):
    """The watch over a PgBouncer's log: only it sees who fails to log in there, and from where."""

    pooler = models.OneToOneField(Pooler, on_delete=models.CASCADE, related_name="log_watch")

    def __str__(self) -> str:
        return f"log of {self.pooler}"


class IsolationAttempt(models.Model):
    """Attempts of one kind at one target from one place, counted while they follow each other."""

    class Kind(models.TextChoices):
        FOREIGN_OBJECT = "foreign_object", "another tenant's object"
        CONTROL_PLANE = "control_plane", "the control plane's objects"
        ESCALATION = "escalation", "more rights"
        DATABASE = "database", "another database"
        LOGIN = "login", "a login with a wrong password"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="isolation_attempts")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    attacker = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="attempts_made")
    login = models.CharField(max_length=63, blank=True, help_text="Who tried; empty when nobody got in.")
    target = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="attempts_suffered"
    )
    target_name = models.CharField(max_length=63, blank=True, help_text="The schema, role or database aimed at.")
    statement = models.CharField(max_length=40, blank=True, help_text="Its kind, never its text.")
    address = models.CharField(max_length=64, blank=True)
    count = models.PositiveBigIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        ordering = ["-last_at", "-id"]
        indexes = [
            models.Index(fields=["cluster", "-last_at"], name="isolation_attempt_newest"),
            models.Index(fields=["cluster", "first_at"], name="isolation_attempt_rate"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.login or self.address} at {self.target_name}"
