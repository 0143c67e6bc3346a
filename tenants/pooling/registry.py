"""Poolers: registered by logging in, looked at, taken away."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import ClusterUnusable, Conflict, ControlPlaneError, InvalidInput
from tenants.models import Cluster, Pooler
from tenants.pooling import config, console, direct
from tenants.postgres import through_pooler

log = logging.getLogger(__name__)
State = Pooler.State
# Proves the whole way: the pooler answers, reaches the server, and may look a verifier up there.
PROBE = "SELECT count(*) FROM cp.pooler_lookup('nobody')"


def register_pooler(
    *,
    cluster: Cluster,
    host: str,
    port: int = 6432,
    username: str = "cp_pooler",
    password: str,
    actor: Actor,
    source: Source,
    **options: Any,
) -> Pooler:
    """Put a PgBouncer in front of a cluster: its tenants are told to connect there from now on.

    Its console is logged in to, its file written (when `config_path` names it) and the way to the server tried; nothing
    is kept when that fails. `options`: server_host, server_port, config_path, log_path. Raises InvalidInput,
    ClusterUnavailable or ClusterUnusable with the reason, Conflict when the cluster has one.
    """
    if cluster.host_cluster is not None:
        raise InvalidInput(f"The pooler of its server is that of {cluster.host_cluster}.", field="cluster")
    # A cluster of its own: the caller's would keep a pooler that came to nothing.
    fresh = Cluster.objects.get(pk=cluster.pk)
    pooler = Pooler(cluster=fresh, host=host, port=port, username=username, **options)
    pooler.secret = secrets.encrypt(password)
    _check_fields(pooler)
    try:
        with transaction.atomic():
            pooler.save(force_insert=True)
            audit.record(
                "pooler.register", actor=actor, source=source, target=pooler,
                after={"cluster": cluster.name, "host": host, "port": port, "config_path": pooler.config_path},
            )  # fmt: skip
            _begin(pooler, actor=actor, source=source)
    except IntegrityError as error:
        raise Conflict(
            f"{cluster} has a pooler already.", code="pooler_known", hint="Remove that one first."
        ) from error
    return pooler


def _begin(pooler: Pooler, *, actor: Actor, source: Source) -> None:
    """Read the version, write what it understands, and look at all of it."""
    with through_pooler(pooler.dsn(), application_name="controlplane inspect") as connection:
        pooler.version = console.read_version(connection)
    pooler.save(update_fields=["version"])
    if pooler.config_path:
        config.sync_pooler(pooler, actor=actor, source=source)
    _look(pooler)


def _check_fields(pooler: Pooler) -> None:
    try:
        pooler.clean_fields(exclude=["secret", "cluster"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], field=field) from error


def remove_pooler(*, pooler: Pooler, actor: Actor, source: Source) -> None:
    """Take the pooler away from its cluster: tenants are told the server's address again. PgBouncer itself runs on."""
    with transaction.atomic():
        before = {"cluster": pooler.cluster.name, "host": pooler.host, "port": pooler.port}
        audit.record("pooler.remove", actor=actor, source=source, target=pooler, before=before)
        pooler.delete()


def check_pooler(pooler: Pooler) -> Pooler:
    """Read version and pools and try the way to the server; note it, or the reason why that failed, on the row."""
    try:
        _look(pooler)
    except ControlPlaneError as error:
        pooler.state, pooler.last_error, pooler.checked_at = State.DOWN, str(error)[:500], timezone.now()
        pooler.save(update_fields=["state", "last_error", "checked_at"])
        raise
    return pooler


def _look(pooler: Pooler) -> None:
    traffic = console.read_traffic(pooler)
    dbname = pooler.cluster.dsn().dbname
    try:
        with through_pooler(pooler.dsn(dbname), application_name="controlplane inspect") as connection:
            connection.execute(PROBE)
    except ControlPlaneError as error:
        raise ClusterUnusable(
            f"The pooler answers, but not its way to {dbname}: {error.message}",
            hint="As superuser: run tenants/pooling/pooler.sql in this database; see that it is among [databases].",
        ) from error
    pooler.version, pooler.facts, pooler.state = traffic.version, traffic.summary(), State.UP
    pooler.checked_at, pooler.last_error = timezone.now(), ""
    pooler.save(update_fields=["version", "facts", "state", "checked_at", "last_error"])
    if pooler.direct_wanted == Pooler.Door.CLOSED:
        with suppress(ControlPlaneError):  # the pooler is not worse for it
            direct.note_direct(pooler)


def check_all() -> int:
    """Check each pooler; a failure is noted on its row. Returns how many are up."""
    count = 0
    for pooler in Pooler.objects.select_related("cluster"):
        try:
            check_pooler(pooler)
            count += 1
        except ControlPlaneError as error:
            log.warning("pooler.check_failed", extra={"pooler": str(pooler), "error": error.code})
    return count


def ensure_default_pooler(*, cluster: Cluster, actor: Actor, source: Source) -> Pooler | None:
    """The pooler that POOLER_URL names, in front of the default cluster; made on the first call, moved when it changed.

    Without POOLER_URL there is nothing to ensure, and one that was registered by hand stays.
    """
    if not settings.POOLER_URL:
        return None
    wanted = _from_settings()
    pooler = Pooler.objects.select_related("cluster").filter(cluster=cluster).first()
    if pooler is None:
        return register_pooler(cluster=cluster, actor=actor, source=source, **wanted)
    password = wanted.pop("password")
    changed = {name: value for name, value in wanted.items() if getattr(pooler, name) != value}
    if changed or secrets.decrypt(pooler.secret) != password:
        with transaction.atomic():
            before = {name: getattr(pooler, name) for name in changed}
            for name, value in changed.items():
                setattr(pooler, name, value)
            pooler.secret = secrets.encrypt(password)
            pooler.save()
            audit.record("pooler.update", actor=actor, source=source, target=pooler, before=before, after=changed)
    _begin(pooler, actor=actor, source=source)
    return pooler


def _from_settings() -> dict[str, Any]:
    """Raises InvalidInput when POOLER_URL or POOLER_SERVER makes no sense."""
    url = urlsplit(settings.POOLER_URL)
    host, colon, port = settings.POOLER_SERVER.rpartition(":")
    if not url.hostname or not url.password or (settings.POOLER_SERVER and not (colon and host and port.isdecimal())):
        raise InvalidInput(
            "POOLER_URL or POOLER_SERVER makes no sense.",
            hint="postgres://cp_pooler:PASSWORD@HOST:PORT, and HOST:PORT or DIRECTORY:PORT.",
        )
    return {
        "host": url.hostname,
        "port": url.port or 6432,
        "username": unquote(url.username or "cp_pooler"),
        "password": unquote(url.password),
        "server_host": host,
        "server_port": int(port) if port else None,
        "config_path": settings.POOLER_CONFIG,
        "log_path": settings.POOLER_LOG,
    }
