"""What all services share: their answers, and how an act on a tenant is begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ValidationError
from django.db import transaction

from provisioning import slots
from tenants import operations
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Operation, Tenant, TenantRole

State = Tenant.State
Login = TenantRole.State
MAX_REASON = 500


@dataclass(frozen=True)
class Connection:
    """What a tenant's application connects with. The password is in clear: show it once, keep it nowhere."""

    host: str
    port: int
    dbname: str
    user: str
    password: str
    search_path: str

    @property
    def dsn(self) -> str:
        """The same as one URL."""
        return f"postgresql://{self.user}:{quote(self.password, safe='')}@{self.host}:{self.port}/{quote(self.dbname)}"

    def __repr__(self) -> str:
        return f"Connection({self.user}@{self.host}:{self.port}/{self.dbname})"

    def as_dict(self) -> dict[str, Any]:
        """All fields and the DSN, for the one answer that shows them."""
        return {**asdict(self), "dsn": self.dsn}


@dataclass(frozen=True)
class Outcome:
    """A tenant after an act, and the operation that did it."""

    tenant: Tenant
    operation: Operation | None


@dataclass(frozen=True)
class Provisioned(Outcome):
    """With the credentials; without them when a worker is still at it (see `credentials.collect_credentials`)."""

    connection: Connection | None = None


def connection_of(tenant: Tenant, login: str, password: str) -> Connection:
    """The connection that the login of this name of `tenant` is used with."""
    host, port = tenant.cluster.public_address()
    path = ", ".join(slots.search_path(tenant.slot))
    return Connection(host, port, tenant.cluster.dsn().dbname, login, password, path)


def get_tenant(tenant_id: Any) -> Tenant:
    """The tenant with this id. Raises NotFound (also for what is no id at all)."""
    try:
        return Tenant.objects.select_related(
            "plan", "cluster__pooler", "cluster__provisioner", "cluster__host_cluster__pooler"
        ).get(pk=tenant_id)
    except (Tenant.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound(f"There is no tenant {tenant_id}.") from error


def require(tenant: Tenant, act: str, *states: str) -> None:
    if tenant.state not in states:
        raise Conflict(
            f"A tenant that is {tenant.state} cannot be {act}.",
            code="wrong_state",
            hint=f"It must be {' or '.join(states)}.",
            state=tenant.state,
        )


def act(kind: str, tenant: Tenant, *, reason: str, actor: Actor, source: Source, **params: Any) -> Outcome:
    """Carry out an act on a tenant here and now, as an operation that survives this process."""
    with transaction.atomic():
        operation = operations.create(
            kind, tenant=tenant, params=params, reason=reason, inline=True, actor=actor, source=source
        )
    operation = operations.execute(operation)
    return Outcome(get_tenant(tenant.pk), operation)


def check_reason(text: str) -> str:
    """Return `text` stripped if it can be a reason: at most 500 characters, no control characters."""
    if not isinstance(text, str) or len(text) > MAX_REASON or any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise InvalidInput(f"A reason is a text of at most {MAX_REASON} characters.", field="reason")
    return text.strip()
