"""Writing attempts down: each of a kind once while they follow each other, and no more than a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from tenants import audit, metrics
from tenants.actors import Actor, Source
from tenants.detection.signature import is_probe, marker
from tenants.identifiers import SCHEMA_NAME
from tenants.models import AuditEvent, Cluster, IsolationAttempt, Tenant
from tenants.models.tenants import on_server

if TYPE_CHECKING:
    from tenants.detection.sources import Entry

DETECTOR = Source(channel="detector")
SCHEMA_LENGTH = 22
# Attempts alike that follow each other within this time are one, with a count.
TOGETHER = timedelta(minutes=10)
# New ones (each is an audit event) a minute: of one attacker, and of a cluster. Those beyond are counted only.
PER_ATTACKER, PER_CLUSTER = 20, 200
Key = tuple[str, str, str, str, str]


def note_attempts(cluster: Cluster, found: Sequence[Entry]) -> tuple[int, int]:
    """Note these attempts, within the caller's transaction. Returns how many were by tenants of this cluster, and how
    many of those were only counted because there were too many."""
    if not found:
        return 0, 0
    tenants = _tenants(cluster, found)
    real = [entry for entry in found if _is_ours(entry, tenants) and not _is_own_probe(entry)]
    groups: dict[Key, list[Entry]] = {}
    for entry in real:
        groups.setdefault(_key(entry), []).append(entry)
    rate = _rate(cluster)
    suppressed = 0
    for key, entries in groups.items():
        if _add_to_known(cluster, key, entries):
            continue
        place = entries[0].login or entries[0].address
        if rate[place] >= PER_ATTACKER or rate.total() >= PER_CLUSTER:
            suppressed += len(entries)
            continue
        rate[place] += 1
        _write_down(cluster, key, entries, tenants)
    kinds = Counter(entry.kind or "" for entry in real)
    transaction.on_commit(lambda: metrics.attempted(kinds))
    return len(real), suppressed


def _tenants(cluster: Cluster, found: Sequence[Entry]) -> dict[str, Tenant]:
    names = {entry.login[:SCHEMA_LENGTH] for entry in found} | {entry.target[:SCHEMA_LENGTH] for entry in found}
    rows = Tenant.objects.filter(on_server(cluster), schema_name__in=names)
    return {tenant.schema_name: tenant for tenant in rows}


def _is_ours(entry: Entry, tenants: dict[str, Tenant]) -> bool:
    """Whether it concerns a tenant of this cluster: other clusters on the server write the same log."""
    return (entry.login or entry.target)[:SCHEMA_LENGTH] in tenants


def _is_own_probe(entry: Entry) -> bool:
    if entry.kind in (IsolationAttempt.Kind.DATABASE, IsolationAttempt.Kind.LOGIN):
        return bool(cache.get(marker(entry.login or entry.target)))
    return bool(entry.application) and is_probe(entry.application, entry.login, entry.pid)


def _key(entry: Entry) -> Key:
    return entry.kind or "", entry.login, entry.target[:63], entry.statement[:40], entry.address[:64]


def _rate(cluster: Cluster) -> Counter[str]:
    """New ones of the last minute, by who tried."""
    lately = IsolationAttempt.objects.filter(cluster=cluster, first_at__gt=timezone.now() - timedelta(minutes=1))
    return Counter(login or address for login, address in lately.values_list("login", "address"))


def _add_to_known(cluster: Cluster, key: Key, entries: Sequence[Entry]) -> bool:
    kind, login, target, statement, address = key
    row = IsolationAttempt.objects.filter(
        Q(last_at__gt=entries[0].at - TOGETHER), cluster=cluster, kind=kind, login=login, target_name=target,
        statement=statement, address=address,
    ).first()  # fmt: skip
    if row is None:
        return False
    IsolationAttempt.objects.filter(pk=row.pk).update(count=F("count") + len(entries), last_at=entries[-1].at)
    return True


def _write_down(cluster: Cluster, key: Key, entries: Sequence[Entry], tenants: dict[str, Tenant]) -> None:
    kind, login, target, statement, address = key
    attacker, victim = tenants.get(login[:SCHEMA_LENGTH]), tenants.get(target[:SCHEMA_LENGTH])
    row = IsolationAttempt.objects.create(
        cluster=cluster, kind=kind, attacker=attacker, login=login, target=victim, target_name=target,
        statement=statement, address=address, count=len(entries), first_at=entries[0].at, last_at=entries[-1].at,
    )  # fmt: skip
    who = Actor(kind="tenant", id=str(attacker.pk) if attacker else "", label=login or address or "unknown")
    audit.record(
        "isolation.attempt", actor=who, source=DETECTOR, tenant=attacker or victim, target=victim or cluster,
        outcome=AuditEvent.Outcome.DENIED, after=as_audit(row), reason=kind,
    )  # fmt: skip


def as_audit(row: IsolationAttempt) -> dict[str, Any]:
    """What an audit event says of it: who, at what, how, when and from where; never a statement."""
    return {
        "cluster": row.cluster.name,
        "attacker": row.attacker.slug if row.attacker else None,
        "login": row.login or None,
        "target": row.target.slug if row.target else None,
        "target_name": row.target_name,
        "target_is_tenant": bool(SCHEMA_NAME.match(row.target_name[:SCHEMA_LENGTH])),
        "statement": row.statement,
        "address": row.address or None,
        "at": row.first_at.isoformat(),
    }
