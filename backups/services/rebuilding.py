"""The registry from the manifests in a storage, for when it is lost: tenants, domains, logins, and their backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from backups.engine.errors import BackupError
from backups.engine.manifest import NAME, Manifest, read_manifest
from backups.engine.restore import read_definition
from backups.models import Backup, BackupCopy, Storage
from backups.services.common import keyring
from backups.services.sources import Source, registry_record
from backups.storage.opening import open_storage
from tenants import audit, schemas, secrets
from tenants.actors import Actor
from tenants.actors import Source as Door
from tenants.exceptions import ControlPlaneError
from tenants.founding import founder
from tenants.models import Cluster, Domain, Plan, Tenant, TenantRole
from tenants.postgres import session


@dataclass
class Rebuilt:
    """What was made (or would be), by name, and what could not be, with the reason."""

    plans: list[str] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)
    backups: int = 0
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


def rebuild_registry(*, storage: Storage, dry_run: bool = False, actor: Actor, source: Door) -> Rebuilt:
    """Make the rows again that the manifests in a storage tell of; those that are there stay as they are.

    Clusters must be registered again before, under the names they had: their logins are in no backup. A tenant is taken
    from its newest backup, with the passwords it had then; it comes back only where its schema still is on its cluster
    (else restore it). Can be repeated.
    """
    done = Rebuilt()
    newest: dict[str, Source] = {}
    for found in _manifests(storage, done):
        known = newest.get(_tenant_of(found))
        if known is None or known.manifest.snapshot_at < found.manifest.snapshot_at:
            newest[_tenant_of(found)] = found
    for found in newest.values():
        with _reporting(found, done), transaction.atomic():
            _tenant(found, done, dry_run=dry_run, actor=actor, source=source)
    for found in _manifests(storage, Rebuilt()):
        with _reporting(found, done), transaction.atomic():
            done.backups += _backup(found, storage, dry_run=dry_run)
    return done


def _tenant_of(found: Source) -> str:
    return found.prefix.split("/", 1)[0]


class _reporting:
    """What cannot be done for one backup is told, and the others go on."""

    def __init__(self, found: Source, done: Rebuilt) -> None:
        self._found, self._done = found, done

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, ControlPlaneError):
            self._done.problems.append(f"{self._found.prefix}: {error}")
            return True
        return False


def _manifests(row: Storage, done: Rebuilt) -> Iterator[Source]:
    storage, ring = open_storage(row), keyring()
    for stored in storage.list(""):
        prefix, _, name = stored.key.rpartition("/")
        if name != NAME or prefix.count("/") != 1:
            continue
        try:
            yield Source(0, storage, prefix, read_manifest(storage, prefix, ring))
        except BackupError as error:
            done.problems.append(f"{prefix}: {error}")


def _tenant(found: Source, done: Rebuilt, *, dry_run: bool, actor: Actor, source: Door) -> None:
    record = registry_record(found)
    if record is None:
        raise ControlPlaneError("It holds nothing of the registry.")
    was = record["tenant"]
    if Tenant.objects.filter(pk=was["id"]).exists():
        return
    cluster = Cluster.objects.select_related("provisioner").filter(name=was["cluster"]).first()
    if cluster is None:
        raise ControlPlaneError(
            f"The cluster {was['cluster']} is not registered.", hint="Register it, then repeat this."
        )
    with session(cluster.dsn()) as link:
        if not schemas.exists(link, was["schema_name"]):
            raise ControlPlaneError(
                f"The schema of {was['slug']} is not on {cluster.name}.", hint="Restore the backup into a new tenant."
            )
    plan = _plan(was["plan"], done, dry_run=dry_run)
    done.tenants.append(was["slug"])
    if dry_run or plan is None:
        return
    tenant = Tenant(
        id=was["id"], name=was["name"], slug=was["slug"], state=_state(was["state"]), plan=plan, cluster=cluster,
        template=was["template"], template_version=was["template_version"], schema_name=was["schema_name"],
        labels=was["labels"], limits=was["limits"],
    )  # fmt: skip
    tenant.save(force_insert=True)
    for domain in record["domains"]:
        Domain.objects.create(tenant=tenant, **domain)
    for login in record["logins"]:
        secret = secrets.encrypt(login["password"]) if login["password"] else ""
        issued = timezone.now() if login["state"] != TenantRole.State.OFF else None
        retire = {"retire_at": timezone.now()} if login["state"] == TenantRole.State.RETIRING else {}
        TenantRole.objects.create(
            tenant=tenant, name=login["name"], state=login["state"], secret=secret, issued_at=issued,
            collected_at=issued, **retire,
        )  # fmt: skip
    definition = read_definition(found.storage, found.prefix, found.manifest)
    script = f"{definition.settings.rstrip()}\n{definition.script()}"
    made = founder().adopt(
        tenant, script=script, marker=definition.marker, fingerprint=definition.fingerprint,
        server_version=found.manifest.server_version_num,
    )  # fmt: skip
    done.templates += [made] if made else []
    audit.record(
        "tenant.rebuild", actor=actor, source=source, tenant=tenant,
        after={"state": tenant.state, "schema": tenant.schema_name, "backup": found.manifest.backup,
               "snapshot_at": found.manifest.snapshot_at},
    )  # fmt: skip


def _state(was: str) -> str:
    """What was under way is over: who was there is active, who was shut out stays so."""
    return was if was == Tenant.State.ACTIVE else Tenant.State.SUSPENDED


def _plan(slug: str, done: Rebuilt, *, dry_run: bool) -> Plan | None:
    found = Plan.objects.filter(slug=slug).first()
    if found is not None:
        return found
    if slug not in done.plans:
        done.plans.append(slug)
    return None if dry_run else Plan.objects.create(slug=slug, name=slug)


def _backup(found: Source, storage: Storage, *, dry_run: bool) -> int:
    manifest = found.manifest
    if Backup.objects.filter(pk=manifest.meta.get("backup", manifest.backup)).exists():
        return 0
    if dry_run:
        return 1
    row = _row(manifest, _tenant_of(found))
    row.save(force_insert=True)
    BackupCopy.objects.create(
        backup=row, storage=storage, prefix=found.prefix, state=BackupCopy.State.STORED, primary=True,
        bytes=manifest.stored_bytes, stored_at=datetime.fromisoformat(manifest.created_at),
    )  # fmt: skip
    return 1


def _row(manifest: Manifest, tenant_id: str) -> Backup:
    meta = manifest.meta
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    return Backup(
        id=meta.get("backup", manifest.backup), tenant=tenant, origin_id=tenant_id, slug=meta["slug"],
        cluster=Cluster.objects.filter(name=meta["cluster"]).first(), schema_name=manifest.schema,
        template=meta["template"], template_version=meta["template_version"], state=Backup.State.SUCCEEDED,
        origin=meta["origin"], note=meta["note"], requested_by="rebuild_registry",
        created_at=datetime.fromisoformat(meta["created_at"]),
        snapshot_at=datetime.fromisoformat(manifest.snapshot_at),
        finished_at=datetime.fromisoformat(manifest.created_at), lsn=manifest.lsn,
        server_version=manifest.server_version_num, fingerprint=manifest.fingerprint, format_version=1,
        key_id=manifest.key.id if manifest.key else "", tables=len(manifest.tables), rows=manifest.rows,
        raw_bytes=manifest.raw_bytes, stored_bytes=manifest.stored_bytes, seconds=manifest.seconds,
        proof=manifest.proof,
    )  # fmt: skip
