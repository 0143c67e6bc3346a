"""From a tenant to the engine: which login reads, what describes the schema, what is written down with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import cache

from backups.engine import definition as definitions
from backups.engine.capture import capture
from backups.engine.current import definition_of
from backups.engine.definition import Definition
from backups.engine.errors import SchemaChanged
from backups.engine.keys import KeyRing
from backups.engine.manifest import Manifest
from backups.errors import NoBackupLogin
from backups.models import Backup
from backups.services.common import template_version
from backups.storage.base import Storage
from tenants import secrets
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Tenant
from tenants.postgres import Dsn, session
from tenants.schemas.compiler import fingerprints

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
DEFINITION_SECONDS = 30 * 86_400
_of_templates: dict[tuple[int, str], Definition] = {}


def reader(cluster: Cluster) -> Dsn:
    """The login that reads tenants' rows. Raises NoBackupLogin, SecretUnreadable."""
    dsn = cluster.dsn("backup")
    if dsn.user == cluster.dsn().user:
        raise NoBackupLogin(
            f"The cluster {cluster.name} has no login that may read the rows of all tenants.",
            hint=f"Have one made, as superuser: manage.py prepare_cluster {cluster.name} --help.",
        )
    return dsn


def capture_tenant(
    tenant: Tenant,
    backup: Backup,
    *,
    storage: Storage,
    prefix: str,
    keyring: KeyRing,
    dsn: Dsn | None = None,
    on_progress: Progress | None = None,
    on_alive: Callable[[], None] | None = None,
) -> Manifest:
    """Take a backup into `prefix`, as the login `dsn` or the one that there is for it. A schema that is not its
    template's any more costs some seconds once.

    Raises as the engine's `capture` does.
    """
    dsn = dsn or reader(tenant.cluster)
    rest: dict[str, Any] = {
        "dsn": dsn, "schema": tenant.schema_name, "storage": storage, "prefix": prefix, "keyring": keyring,
        "meta": _meta(tenant, backup), "registry": registry_record(tenant), "workers": settings.BACKUP_WORKERS,
        "level": settings.BACKUP_COMPRESSION, "on_progress": on_progress, "on_alive": on_alive,
    }  # fmt: skip
    known = of_template(tenant)
    if known is not None:
        try:
            return capture(definition=known, **rest)
        except SchemaChanged:
            if (found := fingerprint(dsn, tenant)) == known.source:
                raise
    else:
        found = fingerprint(dsn, tenant)
    return capture(definition=_as_it_is(tenant, dsn, found), **rest)


def fingerprint(dsn: Dsn, tenant: Tenant) -> str:
    """What a tenant's schema hashes to now; empty when it is not there."""
    with session(dsn) as link:
        return fingerprints(link, [tenant.schema_name]).get(tenant.schema_name, "")


def of_template(tenant: Tenant) -> Definition | None:
    """What the tenant's template version says of its schema on this cluster's major; None where that was never
    measured. Versions never change: each is read once by each process."""
    version_id = getattr(getattr(tenant, "slot", None), "template_version_id", None)
    major = str(tenant.cluster.server_version_num // 10000)
    if version_id is None:
        return None
    if (version_id, major) not in _of_templates:
        version = template_version(tenant)
        if major not in version.fingerprints:
            return None
        _of_templates[version_id, major] = definitions.of_script(
            version.script, version.marker, version.fingerprints[major]
        )
    return _of_templates[version_id, major]


def _as_it_is(tenant: Tenant, dsn: Dsn, found: str) -> Definition:
    """Of a schema that somebody has changed: compiled from itself, and remembered by its fingerprint."""
    if (kept := _remembered(tenant.cluster_id, found)) is not None:
        return kept
    log.info("backup.schema_compiled", extra={"tenant": str(tenant.pk), "fingerprint": found})
    made = definition_of(tenant.schema_name, dsn=tenant.cluster.dsn(), reader=dsn)
    token = secrets.encrypt(made.encoded().decode())
    cache.set(_key(tenant.cluster_id, made.source), token, timeout=DEFINITION_SECONDS)
    return made


def _key(cluster_id: int, found: str) -> str:
    return f"backups:definition:{cluster_id}:{found}"


def _remembered(cluster_id: int, found: str) -> Definition | None:
    """The definition that was kept for a fingerprint. A restore runs it as SQL: encrypted, so that nobody who can write
    to the cache can make one up, and none is taken for another's."""
    token = cache.get(_key(cluster_id, found))
    if token is None:
        return None
    try:
        kept = Definition.decoded(secrets.decrypt(token).encode())
    except (ControlPlaneError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("backup.definition_unreadable", extra={"fingerprint": found, "error": type(error).__name__})
        return None
    return kept if kept.source == found else None


def _meta(tenant: Tenant, backup: Backup) -> dict[str, Any]:
    """In clear in the manifest: by it backups are found when the registry is lost."""
    return {
        "tenant": str(tenant.pk), "slug": tenant.slug, "name": tenant.name, "cluster": tenant.cluster.name,
        "template": tenant.template, "template_version": tenant.template_version, "backup": str(backup.pk),
        "origin": backup.origin, "note": backup.note, "created_at": backup.created_at.isoformat(),
    }  # fmt: skip


def registry_record(tenant: Tenant) -> dict[str, Any]:
    """What the registry knows of a tenant, passwords included: it is stored encrypted under the backup's own key, since
    the keys of the registry's fields may be lost along with the registry."""
    return {
        "tenant": {
            "id": str(tenant.pk), "name": tenant.name, "slug": tenant.slug, "state": tenant.state,
            "schema_name": tenant.schema_name, "plan": tenant.plan.slug, "cluster": tenant.cluster.name,
            "template": tenant.template, "template_version": tenant.template_version, "labels": tenant.labels,
            "limits": tenant.limits, "created_at": tenant.created_at.isoformat(),
        },
        "domains": [{"domain": row.domain, "is_primary": row.is_primary} for row in tenant.domains.all()],
        "logins": [
            {"name": row.name, "state": row.state, "password": secrets.decrypt(row.secret) if row.secret else ""}
            for row in tenant.roles.all()
        ],
    }  # fmt: skip
