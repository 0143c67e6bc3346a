"""What stands between tenants and a cluster."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from tenants import secrets
from tenants.models.clusters import Cluster
from tenants.models.fields import EncryptedField
from tenants.postgres import Dsn

_PORT = [MinValueValidator(1), MaxValueValidator(65_535)]
CONSOLE = "pgbouncer"  # the database name behind which PgBouncer's console is

# Older ones let whoever knows one password of auth_file log in as anybody else in it (CVE-2026-107350).
MINIMUM_VERSION = (1, 26, 1)
POOL_SIZE_PER_USER = (1, 23)
CLIENTS_PER_USER = (1, 24)  # and KILL_CLIENT


class Pooler(models.Model):
    """The PgBouncer in front of a cluster: what its tenants are told to connect to.

    ::

        unchecked ──► up ◄──► down      (what the last check found; nobody chooses it)
    """

    class State(models.TextChoices):
        UNCHECKED = "unchecked"
        UP = "up"
        DOWN = "down"

    class Door(models.TextChoices):
        """The server's own, for tenants."""

        OPEN = "open"
        CLOSED = "closed"

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="pooler")
    host = models.CharField(max_length=255, help_text="What tenants, and the control plane, connect to.")
    port = models.PositiveIntegerField(default=6432, validators=_PORT)
    username = models.CharField(max_length=63, default="cp_pooler")
    secret = EncryptedField(editable=False, help_text="The pooler's own password, encrypted.")
    server_host = models.CharField(
        max_length=255,
        blank=True,
        help_text="Where the pooler finds the server, when not where the control plane does.",
    )
    server_port = models.PositiveIntegerField(null=True, blank=True, validators=_PORT)
    config_path = models.CharField(
        max_length=500, blank=True, help_text="The included file, which workers write; empty: somebody else does."
    )
    log_path = models.CharField(
        max_length=500, blank=True, help_text="PgBouncer's own log, on this machine; empty: nobody watches it."
    )
    state = models.CharField(max_length=12, choices=State.choices, default=State.UNCHECKED, editable=False)
    version = models.CharField(max_length=20, blank=True, editable=False)
    facts = models.JSONField(default=dict, editable=False, help_text="Clients, servers and waiting, at the last check.")
    checked_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    config_digest = models.CharField(max_length=64, blank=True, editable=False)
    applied_at = models.DateTimeField(null=True, editable=False)
    direct_wanted = models.CharField(
        max_length=8, choices=Door.choices, default=Door.OPEN, editable=False,
        help_text="Whether tenants may also connect to the server itself.",
    )  # fmt: skip
    direct_found = models.CharField(max_length=8, choices=Door.choices, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(direct_wanted__in=["open", "closed"]), name="pooler_door"),
            models.CheckConstraint(condition=models.Q(state__in=["unchecked", "up", "down"]), name="pooler_state"),
            models.CheckConstraint(condition=~models.Q(host=""), name="pooler_address"),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def version_info(self) -> tuple[int, ...]:
        """The version as numbers, to be compared; empty when it was never read."""
        return tuple(int(part) for part in self.version.split(".") if part.isdecimal())

    def dsn(self, dbname: str = CONSOLE) -> Dsn:
        """The pooler's own login, at its console or at a database behind it. Raises SecretUnreadable."""
        return Dsn(self.host, self.port, dbname, self.username, secrets.decrypt(self.secret))

    def server_address(self) -> tuple[str, int]:
        """Host (or directory of the socket) and port by which the pooler reaches the server."""
        own = self.cluster.dsn()
        return self.server_host or own.host, self.server_port or own.port

    def warnings(self) -> list[str]:
        """What an operator should know: of this version, and of a door that is not as it is wanted."""
        found = []
        if self.direct_found and self.direct_found != self.direct_wanted:
            found.append(f"Direct access to the server is {self.direct_found}; {self.direct_wanted} is wanted.")
        if not self.version_info:
            return found
        if self.version_info < MINIMUM_VERSION:
            wanted = ".".join(map(str, MINIMUM_VERSION))
            found.append(f"PgBouncer {self.version} is below the minimum {wanted}: keep tenants out of auth_file.")
        if self.version_info < POOL_SIZE_PER_USER:
            found.append("It has one pool size for all tenants, that of the default plan (1.23 knows one for each).")
        if self.version_info < CLIENTS_PER_USER:
            found.append("It does not limit a tenant's client connections (1.24 does), only all of them together.")
        return found
