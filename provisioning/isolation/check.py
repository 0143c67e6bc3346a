"""The check: prove, try, write down, and act on what was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from provisioning import services
from provisioning.isolation.probes import REACHED, UNPROVEN, Side, probe
from tenants import audit, belongings
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import ControlPlaneError
from tenants.hardening.proof import Finding, Proof, prove
from tenants.models import (
    AuditEvent,
    Cluster,
    IsolationCheck,
    IsolationFinding,
    Plan,
    Pooler,
    Tenant,
    TenantProbe,
    TenantRole,
)
from tenants.models.clusters import ClusterLogin
from tenants.models.isolation import Severity
from tenants.postgres import connect, load_queries

log = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
PURPOSE = ClusterLogin.Purpose.MONITOR
PROOF_TIMEOUT_MS = 120_000
NEW_AT_ONCE = 10
KEPT_CHECKS = 500
PROBE_CODE, PASSWORD_CODE = "probe", "password"


def check_isolation(
    *, cluster: Cluster, sample: int | None = None, tenants: Sequence[Tenant] = (), actor: Actor, source: Source
) -> IsolationCheck:
    """Prove all schemas of a cluster by its catalog; try with the logins of `tenants` and of a sample of those that
    were tried longest ago (`ISOLATION_PROBE_SAMPLE`; the new ones come first).

    What is found is kept until a later check does not find it; a new critical finding is audited, and its offender is
    suspended where `on_violation` of its plan, or else `ISOLATION_ON_VIOLATION`, says so. A cluster that cannot be read
    gives a check with `error`, and raises nothing.
    """
    begun = time.monotonic()
    check = IsolationCheck(cluster=cluster, started_at=timezone.now())
    try:
        proof, around = _prove(cluster)
    except ControlPlaneError as error:
        check.error = str(error)[:500]
    else:
        size = settings.ISOLATION_PROBE_SAMPLE if sample is None else sample
        chosen = {t.pk: t for t in [*tenants, *_candidates(cluster)[:size]]}
        tried, by_probe = _probe(chosen.values(), around)
        check.schemas, check.probed, check.unverified = len(proof.schemas), len(tried), proof.unverified
        unread = {text.split(":")[0] for text in proof.unverified}
        _note(cluster, [*proof.findings, *by_probe], tried, unread=unread, actor=actor, source=source)
    still = IsolationFinding.objects.filter(cluster=cluster, resolved_at=None)
    check.critical = still.filter(severity=Severity.CRITICAL).count()
    check.warnings = still.filter(severity=Severity.WARNING).count()
    check.seconds = time.monotonic() - begun
    check.save()
    kept = IsolationCheck.objects.filter(cluster=cluster).values("pk")[:KEPT_CHECKS]
    IsolationCheck.objects.filter(cluster=cluster).exclude(pk__in=list(kept.values_list("pk", flat=True))).delete()
    return check


def check_all() -> int:
    """Check every cluster; beat's way in. Returns how many are well."""
    return sum(check_isolation(cluster=row, actor=SYSTEM, source=BEAT).ok for row in Cluster.objects.all())


def probe_new_tenants() -> int:
    """Try with the logins of active tenants that were never tried. Returns how many were."""
    count = 0
    for cluster in Cluster.objects.filter(tenants__state=Tenant.State.ACTIVE, tenants__isolation_probe=None).distinct():
        new = list(_candidates(cluster).filter(isolation_probe=None)[:NEW_AT_ONCE])
        try:
            with _session(cluster) as connection:
                around = _around(connection)
        except ControlPlaneError as error:
            log.warning("isolation.probe_failed", extra={"cluster": cluster.name, "error": error.code})
            continue
        tried, findings = _probe(new, around)
        _note(cluster, findings, tried, unread=None, actor=SYSTEM, source=BEAT)
        count += len(tried)
    return count


def _session(cluster: Cluster) -> Any:
    return connect(
        cluster.dsn(PURPOSE), autocommit=True, application_name="controlplane isolation",
        statement_timeout_ms=PROOF_TIMEOUT_MS,
    )  # fmt: skip


def _prove(cluster: Cluster) -> tuple[Proof, Around]:
    making = belongings.unfinished(cluster)
    with _session(cluster) as connection:
        proof, around = prove(connection, level=cluster.isolation_wanted), _around(connection)
    # Nobody can log in to what a restore is making; it is protected last, and judged when it is there.
    making |= belongings.unfinished(cluster)
    return replace(proof, findings=[found for found in proof.findings if found.schema not in making]), around


@dataclass(frozen=True)
class Around:
    """What there is to try with: a table of each schema, and other databases of the server that tenants may be in."""

    tables: dict[str, Side]
    elsewhere: list[str]


def _around(connection: Any) -> Around:
    tables = {schema: Side(schema, table) for schema, table in connection.execute(QUERIES["first_tables"])}
    return Around(tables, [row[0] for row in connection.execute(QUERIES["elsewhere"])])


def _candidates(cluster: Cluster) -> QuerySet[Tenant]:
    """Active tenants, those that were never tried first, then by how long ago."""
    active = Tenant.objects.filter(cluster=cluster, state=Tenant.State.ACTIVE)
    return active.order_by(F("isolation_probe__probed_at").asc(nulls_first=True), "created_at")


def _probe(tenants: Iterable[Tenant], around: Around) -> tuple[list[Tenant], list[Finding]]:
    """Try with each tenant's login against the next schema of the database, if it is not the only one there."""
    wanted = {tenant.pk: tenant for tenant in tenants}
    active = TenantRole.objects.filter(tenant__in=wanted, state=TenantRole.State.ACTIVE)
    roles = active.select_related("tenant__cluster__pooler", "tenant__cluster__host_cluster__pooler")
    names = sorted(around.tables)
    tried, findings = [], []
    for role in roles:
        tenant = role.tenant
        own = around.tables.get(tenant.schema_name)
        if own is None:
            continue
        next_one = _next(names, tenant.schema_name)
        other = around.tables[next_one] if next_one else None
        pooler: Pooler | None = getattr(tenant.cluster.server, "pooler", None)
        try:
            results = probe(role, own, other, elsewhere=around.elsewhere, pooler=pooler)
        except ControlPlaneError as error:  # closed meanwhile, or its password was changed: the catalog tells
            log.warning("isolation.probe_failed", extra={"tenant": tenant.slug, "error": error.code})
            continue
        findings += _judge(tenant, results)
        tried.append(tenant)
    return tried, findings


def _next(names: Sequence[str], schema: str) -> str | None:
    """The schema after this one, around the end."""
    others = [name for name in names if name != schema]
    return next((name for name in others if name > schema), others[0] if others else None)


def _judge(tenant: Tenant, results: dict[str, str]) -> list[Finding]:
    bad = {name: result for name, result in results.items() if result in (REACHED, UNPROVEN)}
    TenantProbe.objects.update_or_create(
        tenant=tenant, defaults={"probed_at": timezone.now(), "ok": not bad, "results": results}
    )
    schema = tenant.schema_name
    return [
        Finding(
            PROBE_CODE,
            Severity.CRITICAL if result == REACHED else Severity.WARNING,
            schema,
            schema,
            name,
            "its login could do it" if result == REACHED else "the control did not work",
        )
        for name, result in bad.items()
    ]


def _note(
    cluster: Cluster, found: Sequence[Finding], tried: Sequence[Tenant], *, unread: set[str] | None, actor: Actor,
    source: Source,
) -> None:  # fmt: skip
    """Bring the open findings up to date; audit what is new and critical, and what is gone; then act.

    `unread` are the parts of the catalog that could not be read; None when none of it was.
    """
    probed = {tenant.schema_name for tenant in tried}
    fresh = {finding.key: finding for finding in found}
    owners = _owners(cluster, [finding.schema for finding in fresh.values()])
    now = timezone.now()
    with transaction.atomic():
        Cluster.objects.select_for_update().get(pk=cluster.pk)
        open_now = IsolationFinding.objects.filter(cluster=cluster, resolved_at=None).select_related("tenant")
        known = {(row.schema_name, row.offender, row.code, row.subject, row.detail): row for row in open_now}
        still = [row.pk for key, row in known.items() if key in fresh]
        IsolationFinding.objects.filter(pk__in=still).update(last_seen_at=now)
        gone = [row for key, row in known.items() if key not in fresh and _looked_at(row, probed, unread)]
        IsolationFinding.objects.filter(pk__in=[row.pk for row in gone]).update(resolved_at=now)
        new = [_row(cluster, one, owners, now) for key, one in fresh.items() if key not in known]
        IsolationFinding.objects.bulk_create(new)
        _record("isolation.violation", new, cluster, actor=actor, source=source)
        _record("isolation.resolved", gone, cluster, actor=actor, source=source)
    _act(cluster, {one.offender for one in fresh.values() if one.severity == Severity.CRITICAL})


def _looked_at(row: IsolationFinding, probed: set[str], unread: set[str] | None) -> bool:
    """Whether this check would have found it again."""
    if row.code == PROBE_CODE:
        return row.schema_name in probed or row.tenant is None or row.tenant.state == Tenant.State.PURGED
    if unread is None:
        return False
    return "verifiers" not in unread if row.code == PASSWORD_CODE else not unread - {"verifiers"}


def _row(cluster: Cluster, one: Finding, owners: dict[str, Tenant], now: datetime) -> IsolationFinding:
    return IsolationFinding(
        cluster=cluster, tenant=owners.get(one.schema), schema_name=one.schema, offender=one.offender, code=one.code,
        severity=one.severity, subject=one.subject[:200], detail=one.detail[:300], first_seen_at=now, last_seen_at=now,
    )  # fmt: skip


def _record(
    action: str, rows: Sequence[IsolationFinding], cluster: Cluster, *, actor: Actor, source: Source
) -> None:  # fmt: skip
    outcome = AuditEvent.Outcome.FAILURE if action == "isolation.violation" else AuditEvent.Outcome.SUCCESS
    for row in rows:
        if row.severity == Severity.CRITICAL:
            audit.record(
                action, actor=actor, source=source, tenant=row.tenant, target=row.tenant or cluster, outcome=outcome,
                after=_told(row),
            )  # fmt: skip


def _owners(cluster: Cluster, schemas: Iterable[str]) -> dict[str, Tenant]:
    names = set(schemas) - {""}
    found = Tenant.objects.filter(cluster=cluster, schema_name__in=names).select_related("plan") if names else ()
    return {tenant.schema_name: tenant for tenant in found}


def _told(row: IsolationFinding) -> dict[str, Any]:
    return {
        "code": row.code, "schema": row.schema_name, "offender": row.offender, "subject": row.subject,
        "detail": row.detail,
    }  # fmt: skip


def _act(cluster: Cluster, offenders: set[str]) -> None:
    """Close the path of those that can reach too far, at once, where their plan (or else the setting) says so."""
    for tenant in _owners(cluster, offenders).values():
        policy = tenant.plan.on_violation or settings.ISOLATION_ON_VIOLATION
        if tenant.state == Tenant.State.ACTIVE and policy == Plan.OnViolation.SUSPEND:
            try:
                services.suspend_tenant(
                    tenant_id=tenant.pk, reason="It can reach what is not its own: see its isolation findings.",
                    actor=SYSTEM, source=BEAT,
                )  # fmt: skip
            except ControlPlaneError as error:  # another act is under way: the next check tries again
                log.error("isolation.suspend_failed", extra={"tenant": tenant.slug, "error": error.code})
