"""Where tenants live."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models

from tenants import patches, secrets
from tenants.models.fields import EncryptedField
from tenants.postgres import Dsn


class Cluster(models.Model):  # type: ignore[django-manager-missing]  # TenantMixin is untyped
    """A database on a PostgreSQL server that tenants' schemas are made in.

    The default one is the control plane's own database, and takes its address and login from the settings.
    `active ⇄ disabled` is the operator's choice: a disabled cluster keeps its tenants and takes no new ones.

    A `dedicated` one holds one tenant alone, `dedicated_to`. There are two kinds: a registered cluster that is
    reserved for that (`free ⇄ taken`, by compare-and-swap on `dedicated_to`), and a tenant's own database on the
    server of another cluster, its `host_cluster`, from which it has address, logins, pooler and how much it bears.
    The row of such a database is written before it is made and deleted after it was dropped.
    """

    class State(models.TextChoices):
        ACTIVE = "active"
        DISABLED = "disabled"

    name = models.SlugField(max_length=40, unique=True)
    description = models.CharField(max_length=200, blank=True)
    is_default = models.BooleanField(default=False, editable=False)
    state = models.CharField(max_length=12, choices=State.choices, default=State.ACTIVE)
    host = models.CharField(max_length=255, blank=True)
    port = models.PositiveIntegerField(default=5432, validators=[MinValueValidator(1), MaxValueValidator(65535)])
    dbname = models.CharField("database", max_length=63, blank=True)
    username = models.CharField(max_length=63, blank=True)
    secret = EncryptedField(blank=True, editable=False, help_text="The login's password, encrypted.")
    sslmode = models.CharField(max_length=12, default="prefer")
    public_host = models.CharField(
        max_length=255, blank=True, help_text="What tenants connect to, when it is not the same (a pooler, a proxy)."
    )
    public_port = models.PositiveIntegerField(null=True, blank=True)
    pool_target = models.PositiveIntegerField(default=10, help_text="Warm slots kept ready for each template.")
    log_path = models.CharField(
        max_length=500, blank=True,
        help_text="The directory of the server's JSON log, when it is on this machine and shall not be read over SQL.",
    )  # fmt: skip
    max_parallel = models.PositiveIntegerField(default=4, help_text="Schemas cloned at the same time, at most.")
    host_cluster = models.ForeignKey(
        "self", null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="databases"
    )
    dedicated = models.BooleanField(default=False, help_text="Reserved for one tenant, on a plan of the tier cluster.")
    dedicated_to = models.OneToOneField(
        "tenants.Tenant", null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="own_cluster"
    )
    server_version_num = models.PositiveIntegerField(default=0, editable=False)
    extensions = models.JSONField(default=dict, blank=True, editable=False)
    isolation_wanted = models.CharField(
        max_length=12, default="baseline", editable=False, help_text="The level it was last prepared for."
    )
    isolation_level = models.CharField(
        max_length=12, blank=True, editable=False, help_text="The level its catalog showed when it was last checked."
    )
    isolation_open = models.JSONField(default=list, blank=True, editable=False)
    provisioner = models.OneToOneField(
        "ClusterLogin", null=True, editable=False, on_delete=models.SET_NULL, related_name="+",
        help_text="The login of low privilege that tenants are made and managed by, once prepare_cluster has made it.",
    )  # fmt: skip
    checked_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("check_cluster", "Can have a cluster checked now"),
            ("prepare_cluster", "Can close a cluster up to an isolation level"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_cluster"
            ),
            models.CheckConstraint(condition=models.Q(state__in=["active", "disabled"]), name="cluster_state"),
            models.CheckConstraint(
                condition=models.Q(is_default=True)
                | ((~models.Q(host="") | models.Q(host_cluster__isnull=False)) & ~models.Q(dbname="")),
                name="cluster_address",
            ),
            models.CheckConstraint(
                condition=models.Q(dedicated=True) | models.Q(dedicated_to__isnull=True, host_cluster__isnull=True),
                name="cluster_dedicated",
            ),
            models.UniqueConstraint(
                fields=["host_cluster", "dbname"],
                condition=models.Q(host_cluster__isnull=False),
                name="own_database_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def server_version(self) -> str:
        """The server's version as people write it, e.g. `18.6`; empty when it was never read."""
        number = self.server_version_num
        return f"{number // 10000}.{number % 10000}" if number else ""

    def dsn(self, purpose: str = "") -> Dsn:
        """Where the control plane connects, with its password; for a `purpose` as the login of that purpose where there
        is one (see `prepare_cluster`). Raises SecretUnreadable."""
        if self.host_cluster is not None:
            return self.host_cluster.dsn(purpose).replace(dbname=self.dbname, pooled=False)
        if purpose == ClusterLogin.Purpose.PROVISIONER:
            login = self.provisioner  # read along with the cluster: every act on a tenant needs it
        else:
            login = self.logins.filter(purpose=purpose, ready=True).first() if purpose else None
        if login is not None:
            return self.dsn().replace(user=login.username, password=secrets.decrypt(login.secret))
        if self.is_default:
            own = connection.settings_dict
            return Dsn(
                host=own["HOST"] or "localhost",
                port=int(own["PORT"] or 5432),
                dbname=own["NAME"],
                user=own["USER"],
                password=own["PASSWORD"] or "",
                sslmode=own.get("OPTIONS", {}).get("sslmode", "prefer"),
            )
        return Dsn(self.host, self.port, self.dbname, self.username, secrets.decrypt(self.secret), self.sslmode)

    def work_dsn(self) -> Dsn:
        """Where tenants are made and managed: as the provisioner, or (where no superuser has prepared the cluster) as
        the control plane's own login. Raises SecretUnreadable."""
        return self.dsn(ClusterLogin.Purpose.PROVISIONER)

    @property
    def server(self) -> Cluster:
        """The registered cluster on whose server this is: itself, or the one that holds a tenant's own database."""
        return self.host_cluster or self

    def public_address(self) -> tuple[str, int]:
        """Host and port that tenants are told: as the operator says, else the pooler's, else the server's."""
        if self.host_cluster is not None:
            return self.host_cluster.public_address()
        # Without reading the password, which need not be readable for this.
        own = self.dsn() if self.is_default else self
        behind: Any = getattr(self, "pooler", None) or own
        host, port = behind.host, behind.port
        if self.is_default:
            host, port = settings.PUBLIC_DATABASE_HOST or host, settings.PUBLIC_DATABASE_PORT or port
        return self.public_host or host, self.public_port or port

    @property
    def isolation_warning(self) -> str:
        """What to say when the cluster is more open than it was prepared to be; empty when it is not."""
        order = ["open", "baseline", "lockdown", "sealed"]
        if not self.isolation_level or order.index(self.isolation_level) >= order.index(self.isolation_wanted):
            return ""
        return f"It was prepared for {self.isolation_wanted} and is {self.isolation_level}: prepare it again."

    @property
    def patch_warning(self) -> str:
        """What to say of a server that lacks security fixes; empty when it does not."""
        return patches.warning(self.server_version_num)


class ClusterLogin(models.Model):
    """One of the control plane's own logins on a cluster, with rights for one job, and its password, encrypted."""

    class Purpose(models.TextChoices):
        PROVISIONER = "provisioner"
        BACKUP = "backup"
        MONITOR = "monitor"
        REAPER = "reaper"
        POOLER = "pooler"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="logins")
    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    username = models.CharField(max_length=63)
    secret = EncryptedField(editable=False)
    ready = models.BooleanField(default=False, editable=False, help_text="It is on the cluster, with all its rights.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["cluster", "purpose"]
        constraints = [models.UniqueConstraint(fields=["cluster", "purpose"], name="login_once_per_purpose")]

    def __str__(self) -> str:
        return self.username
