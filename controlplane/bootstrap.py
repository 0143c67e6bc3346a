"""Everything a fresh control plane needs once. Idempotent: what is there stays as it is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction

import provisioning
from backups.services.policies import set_policy
from backups.services.storages import ensure_default_storage
from monitoring.alerts.rules import sync_shipped
from provisioning import imports, pool
from provisioning.models import Template
from tenants import api_keys, audit, clusters, pooling
from tenants.actors import Actor, Source
from tenants.groups import ADMINISTRATOR, ensure_groups
from tenants.hardening.levels import ORDER, Level
from tenants.hardening.prepare import prepare_cluster
from tenants.ledger import protection
from tenants.models import ApiKey, Plan
from tenants.models.access import Scope
from tenants.schemas import compiler

ACTOR = Actor(kind="command", id="bootstrap", label="bootstrap")
SOURCE = Source(channel="command")
REFERENCE_TEMPLATE = Path(provisioning.__file__).parent / "reference" / "trading"

# Approving what it asked for itself is nobody's business.
BOOTSTRAP_SCOPES = [scope for scope in Scope.values if scope != Scope.PURGES_APPROVE]

GIB = 1024**3
PLANS: tuple[dict[str, Any], ...] = (
    {"slug": "starter", "name": "Starter", "connection_limit": 50, "storage_quota_bytes": 10 * GIB, "is_default": True},
    {"slug": "business", "name": "Business", "connection_limit": 150, "pool_size": 50, "client_limit": 500,
     "storage_quota_bytes": 100 * GIB, "statement_timeout_ms": 60_000},
    {"slug": "enterprise", "name": "Enterprise", "connection_limit": 500, "pool_size": 100, "client_limit": 1000,
     "storage_quota_bytes": 1024 * GIB,
     "statement_timeout_ms": 300_000, "temp_file_limit_kb": 4 * 1024**2, "grace_days": 30},
)  # fmt: skip
# How long backups of a plan are kept where that is not as long as for all others.
KEPT: dict[str, dict[str, int]] = {
    "business": {"keep_daily": 35},
    "enterprise": {"keep_daily": 90, "keep_monthly": 12},
}


@dataclass
class Report:
    """What was done: each step with its seconds, and the credentials that were made (shown once)."""

    steps: list[tuple[str, float]] = field(default_factory=list)
    credentials: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, tell: Callable[[str, float], None]) -> Iterator[None]:
        """Time one step and tell about it when it is done."""
        begun = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - begun))
        tell(*self.steps[-1])


def bootstrap(
    *,
    pool_target: int,
    superuser_url: str = "",
    level: str = Level.LOCKDOWN,
    tell: Callable[[str, float], None] = lambda *_: None,
) -> Report:
    """Default cluster, plans, groups, reference template, warm pool, an operator and an API key.

    With a superuser's connection string the cluster is also closed up to `level`, or to the one it was prepared for
    once when that is higher.
    """
    report = Report()
    with report.step("default cluster and plans", tell):
        cluster = clusters.ensure_default_cluster(actor=ACTOR, source=SOURCE, pool_target=pool_target)
        _ensure_plans()
        ensure_groups()
        sync_shipped(actor=ACTOR, source=SOURCE)
        protection.protect()
        pooling.ensure_default_pooler(cluster=cluster, actor=ACTOR, source=SOURCE)
        if settings.BACKUP_DIRECTORY:
            ensure_default_storage(directory=Path(settings.BACKUP_DIRECTORY), actor=ACTOR, source=SOURCE)
    if superuser_url:
        with report.step("isolation level", tell):
            wanted = max(cluster.isolation_wanted, level, key=ORDER.index)
            prepare_cluster(cluster=cluster, level=wanted, superuser_url=superuser_url, actor=ACTOR, source=SOURCE)
    with report.step("reference template", tell):
        if not Template.objects.filter(is_default=True).exists():
            imports.import_template(
                name="trading",
                origin=compiler.SqlDirectory(REFERENCE_TEMPLATE),
                default=True,
                cluster=cluster,
                actor=ACTOR,
                source=SOURCE,
            )
    with report.step("warm pool", tell):
        pool.fill_pools()
    with report.step("operator and API key", tell):
        _ensure_operator(report)
    return report


def _ensure_plans() -> None:
    if Plan.objects.exists():
        return
    with transaction.atomic():
        for values in PLANS:
            plan = Plan.objects.create(**values)
            audit.record("plan.create", actor=ACTOR, source=SOURCE, target=plan, after=plan.limits())
            if kept := KEPT.get(plan.slug):
                set_policy(plan=plan, changes=kept, actor=ACTOR, source=SOURCE)


def _ensure_operator(report: Report) -> None:
    """The first operator and the first key, unless there are any; later ones are made by people."""
    users = get_user_model()
    if not users.objects.filter(is_superuser=True).exists():
        password = secrets.token_urlsafe(18)
        with transaction.atomic():
            user = users.objects.create_superuser("operator", password=password)
            user.groups.add(Group.objects.get(name=ADMINISTRATOR))
            audit.record("user.create", actor=ACTOR, source=SOURCE, target=user)
        report.credentials |= {"url": f"{settings.PUBLIC_URL}/admin/", "username": "operator", "password": password}
    if not ApiKey.objects.exists():
        _, key = api_keys.create_api_key(name="bootstrap", scopes=BOOTSTRAP_SCOPES, actor=ACTOR, source=SOURCE)
        report.credentials["api_key"] = key
