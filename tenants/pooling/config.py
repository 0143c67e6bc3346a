"""The pooler's configuration: one text everywhere, and one file that follows the registry."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tenants import audit
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import ControlPlaneError, InvalidInput
from tenants.models import Cluster, Plan, Pooler, Tenant, TenantRole
from tenants.models.poolers import CLIENTS_PER_USER, POOL_SIZE_PER_USER
from tenants.pooling import console

log = logging.getLogger(__name__)
TEMPLATE = Path(__file__).with_name("pgbouncer.ini")
PREPARED_STATEMENTS = (1, 21)
FALLBACK = {"pool_size": 20, "client_limit": 200}  # a registry without a default plan


@dataclass(frozen=True)
class Applied:
    """A pooler's configuration after `sync_pooler`: how many logins have limits of their own, and whether it is new."""

    pooler: Pooler
    logins: int
    changed: bool


def main_text(
    *,
    listen_addr: str,
    listen_port: int,
    auth_file: str,
    included: str,
    log_file: str = "",
    version: tuple[int, ...] = (99,),
) -> str:
    """The main file of a PgBouncer of this version."""
    prepared = "\nmax_prepared_statements = 200" if version >= PREPARED_STATEMENTS else ""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        listen_addr=listen_addr,
        listen_port=listen_port,
        auth_file=auth_file,
        included=included,
        logfile=f" {log_file}" if log_file else "",
        prepared_statements=prepared,
    )


def included_text(pooler: Pooler) -> str:
    """What follows the registry: the databases, the default plan's limits, and those of logins that differ.

    PgBouncer before 1.23 is given no logins: for one that is named here it would not look for a verifier any more.
    """
    return _text(pooler, _defaults(), list(_lines(pooler, _defaults())))


def _text(pooler: Pooler, defaults: dict[str, int], lines: list[str]) -> str:
    host, port = pooler.server_address()
    dbname = pooler.cluster.dsn().dbname
    version, user = pooler.version_info, _value(pooler.username)
    own = pooler.cluster.databases.order_by("dbname").values_list("dbname", flat=True)
    text = ["; Written by the control plane, which overwrites it. It is included in the section [pgbouncer]; to begin"]
    text += ["; that section again would reset it.", f"default_pool_size = {defaults['pool_size']}"]
    if version >= CLIENTS_PER_USER:
        text += [f"max_user_client_connections = {defaults['client_limit']}"]
    text += ["[databases]"]
    text += [
        f"{_quoted(n)} = host={_value(host)} port={port} dbname={_value(n)} auth_user={user}" for n in (dbname, *own)
    ]
    return "\n".join([*text, "[users]", *lines]) + "\n"


def _defaults() -> dict[str, int]:
    plan = Plan.objects.filter(is_default=True).first()
    return {name: getattr(plan, name) for name in FALLBACK} if plan else dict(FALLBACK)


def _lines(pooler: Pooler, defaults: dict[str, int]) -> Iterator[str]:
    """One for each login whose limits are not the defaults."""
    version = pooler.version_info
    if version < POOL_SIZE_PER_USER:
        return
    own = Q(tenant__limits__has_any_keys=list(FALLBACK))
    roles = (
        TenantRole.objects.filter(
            Q(tenant__cluster=pooler.cluster_id) | Q(tenant__cluster__host_cluster=pooler.cluster_id)
        )
        .filter(~Q(**{f"tenant__plan__{name}": value for name, value in defaults.items()}) | own)
        .exclude(tenant__state__in=[Tenant.State.PURGED, Tenant.State.FAILED])
        .select_related("tenant__plan")
        .order_by("name")
    )
    for role in roles.iterator():
        limits = role.tenant.effective_limits()
        if any(limits[name] != defaults[name] for name in FALLBACK):
            clients = f" max_user_client_connections={limits['client_limit']}" if version >= CLIENTS_PER_USER else ""
            yield f"{role.name} = pool_size={limits['pool_size']}{clients}"


def _quoted(name: str) -> str:
    """A database's name as a key of the file."""
    return name if name.replace("_", "a").isalnum() else '"' + name.replace('"', '""') + '"'


def _value(text: str) -> str:
    """A value of a connection string in the file."""
    if any(ord(character) < 32 for character in text):
        raise InvalidInput("An address has no control characters.")
    return "'" + text.replace("'", "''") + "'"


def sync_pooler(pooler: Pooler, *, actor: Actor = SYSTEM, source: Source = BEAT) -> Applied:
    """Write the included file if it is not what the registry says, and have the pooler read it; clients stay.

    Raises InvalidInput when the pooler has no file of ours or it cannot be written, ClusterUnavailable when the
    pooler cannot be told.
    """
    if not pooler.config_path:
        raise InvalidInput(f"Nobody told where the file of {pooler} is.", field="config_path")
    defaults = _defaults()
    lines = list(_lines(pooler, defaults))
    text = _text(pooler, defaults, lines)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = Path(pooler.config_path)
    if digest == pooler.config_digest and _is(path, text):
        return Applied(pooler, len(lines), changed=False)
    _write(path, text)
    console.reload(pooler)
    pooler.config_digest, pooler.applied_at = digest, timezone.now()
    with transaction.atomic():
        pooler.save(update_fields=["config_digest", "applied_at"])
        audit.record(
            "pooler.configure", actor=actor, source=source, target=pooler,
            after={"cluster": pooler.cluster.name, "logins_with_own_limits": len(lines), **defaults},
        )  # fmt: skip
    return Applied(pooler, len(lines), changed=True)


def _is(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _write(path: Path, text: str) -> None:
    """Replace the file in one step. It keeps its owner and mode; a new one belongs to the owner of its directory."""
    try:
        like = path.stat() if path.exists() else path.parent.stat()
        mode = like.st_mode & 0o777 if path.exists() else 0o640
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(text)
                if os.geteuid() == 0:
                    os.fchown(handle.fileno(), like.st_uid, like.st_gid)
                os.fchmod(handle.fileno(), mode)
                handle.flush()
                os.fsync(handle.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as error:
        message = f"The pooler's file {path} cannot be written: {error.strerror}."
        raise InvalidInput(
            message, field="config_path", hint="Is its directory there, and ours to write in?"
        ) from error


def sync_soon(cluster: Cluster) -> None:
    """Have the pooler in front of a cluster's server know a database that is new; if that fails, beat comes to it."""
    pooler = Pooler.objects.select_related("cluster").filter(cluster=cluster.host_cluster_id or cluster.pk).first()
    if pooler is None or not pooler.config_path:
        return
    try:
        sync_pooler(pooler)
    except ControlPlaneError as error:
        log.warning("pooler.configure_failed", extra={"pooler": str(pooler), "error": error.code})


def sync_all() -> int:
    """Bring every pooler's file up to date; a failure is noted on its row. Returns how many files were written."""
    count = 0
    for pooler in Pooler.objects.exclude(config_path="").select_related("cluster"):
        try:
            count += sync_pooler(pooler).changed
        except ControlPlaneError as error:
            Pooler.objects.filter(pk=pooler.pk).update(last_error=str(error)[:500])
            log.warning("pooler.configure_failed", extra={"pooler": str(pooler), "error": error.code})
    return count
