"""Tenants' backups as retention sees them, and what a policy would keep of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from backups import retention
from backups.models import Backup
from backups.policy import Policy
from backups.retention import Entry
from backups.services import policies
from tenants.models import Operation, Tenant
from tenants.models.operations import OPEN_STATES

State = Backup.State
# What is being removed is not part of the history any more.
SEEN = (State.RUNNING, State.SUCCEEDED, State.FAILED)
READERS = (
    "backup.restore",
    "backup.restore_copy",
    "backup.restore_tables",
    "backup.verify",
    "backup.copy",
    "backup.drill",
)


@dataclass(frozen=True)
class Decision:
    """What is kept of a tenant's backups, by id with the reasons, and what may go."""

    entries: list[Entry]
    kept: dict[Any, list[str]]
    policy: Policy
    purged_at: datetime | None

    @property
    def doomed(self) -> list[Any]:
        """Ids of what is not kept, oldest first."""
        there = [entry for entry in self.entries if entry.outcome in ("good", "damaged") and entry.id not in self.kept]
        return [entry.id for entry in sorted(there, key=lambda entry: entry.at)]

    def complaints(self, doomed: Iterable[Any], now: datetime) -> list[str]:
        """What the guard says against removing these."""
        chosen = set(doomed)
        if self.purged_at is None:
            return retention.guard(self.entries, chosen, self.policy, now)
        kept = retention.after_purge(self.entries, self.purged_at, self.policy, now)
        return [f"{each} is held" for each in chosen if each in kept]


def entry_of(backup: Backup, in_use: frozenset[Any] = frozenset()) -> Entry:
    """A backup as retention sees it."""
    outcome: Any = {State.SUCCEEDED: "good", State.FAILED: "failed"}.get(State(backup.state), "running")
    if outcome == "good" and backup.damaged_at is not None:
        outcome = "damaged"
    at = backup.finished_at if outcome == "failed" else backup.unchanged_until or backup.snapshot_at
    return Entry(
        id=backup.pk, at=at or backup.created_at, outcome=outcome, verified=backup.verified_at is not None,
        proven=backup.proven_at is not None, pinned=backup.pinned, keep_until=backup.keep_until,
        in_use=backup.pk in in_use,
    )  # fmt: skip


def used_now() -> frozenset[Any]:
    """Ids of backups that some open operation reads."""
    rows = Operation.objects.filter(kind__in=READERS, state__in=OPEN_STATES).values_list("params", flat=True)
    return frozenset(Backup._meta.pk.to_python(each["backup"]) for each in rows if "backup" in each)


def decide(tenants: Iterable[Tenant], now: datetime | None = None) -> dict[Any, Decision]:
    """What is kept of each tenant's backups, by the tenant's id; seven queries, however many they are."""
    every, now = list(tenants), now or timezone.now()
    found, in_use = policies.of_tenants(every), used_now()
    histories: dict[Any, list[Entry]] = defaultdict(list)
    rows = Backup.objects.filter(origin_id__in=[each.pk for each in every], state__in=SEEN).defer("proof")
    for backup in rows:
        histories[backup.origin_id].append(entry_of(backup, in_use))
    return {each.pk: decision(each, histories[each.pk], found[each.pk].policy, now) for each in every}


def decision(tenant: Tenant, entries: list[Entry], policy: Policy, now: datetime) -> Decision:
    """What is kept of these."""
    if tenant.state == Tenant.State.PURGED:
        kept = retention.after_purge(entries, tenant.updated_at, policy, now)
        return Decision(entries, kept, policy, tenant.updated_at)
    return Decision(entries, retention.keep(entries, policy, now), policy, None)


def reasons(backup: Backup) -> list[str]:
    """Why a backup is kept; empty when it may go, or is gone."""
    if backup.state not in SEEN or backup.tenant is None:
        return []
    return decide([backup.tenant])[backup.tenant.pk].kept.get(backup.pk, [])


def preview(tenant: Tenant, policy: Policy, now: datetime | None = None) -> list[tuple[Entry, list[str]]]:
    """A tenant's real backups, newest first, each with why a policy would keep it; without a reason it would go."""
    now, in_use = now or timezone.now(), used_now()
    rows = Backup.objects.filter(origin_id=tenant.pk, state__in=SEEN).defer("proof")
    entries = [entry_of(row, in_use) for row in rows]
    found = decision(tenant, entries, policy, now)
    there = [entry for entry in entries if entry.outcome in ("good", "damaged")]
    return [(entry, found.kept.get(entry.id, [])) for entry in sorted(there, key=lambda e: e.at, reverse=True)]
