"""The warm pool keeps its level, retires what is stale and takes away what dead builders left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from provisioning import imports, maintenance, pool, services, slots
from provisioning.models import SchemaSlot, TemplateVersion
from tenants import schemas
from tenants.exceptions import CloneMismatch
from tenants.models import Cluster, Operation
from tenants.postgres import connect
from tenants.schemas import compiler, timeseries
from tenants.schemas.compiler import SqlDirectory
from tests.provisioning.support import ACTOR, SOURCE, can_log_in, leftovers, provision, warm
from tests.support.fixtures import fresh_slug


@pytest.fixture
def own_template(cluster: Cluster, plan: Any, tmp_path: Any) -> TemplateVersion:
    """A template of this test's own, so that its pool is nobody else's."""
    (tmp_path / "010.sql").write_text(
        "CREATE TABLE notes (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());\n"
        "CREATE TABLE readings (at timestamptz NOT NULL, v int, PRIMARY KEY (at)) PARTITION BY RANGE (at);\n"
    )
    (tmp_path / "template.toml").write_text(
        '[[timeseries]]\ntable = "readings"\ncolumn = "at"\ninterval = "1 day"\nretention = "3 days"\npremake = 2\n'
    )
    return imported(fresh_slug("own"), tmp_path, cluster)


def imported(name: str, path: Any, cluster: Cluster) -> TemplateVersion:
    return imports.import_template(name=name, origin=SqlDirectory(path), cluster=cluster, actor=ACTOR, source=SOURCE)[0]


def ready(version: TemplateVersion) -> int:
    return SchemaSlot.objects.filter(template_version=version, state="ready").count()


def test_filling_stops_at_the_target_and_claims_take_from_it(own_template: Any, cluster: Cluster) -> None:
    while pool.fill_one(cluster, own_template, 3):
        pass
    assert ready(own_template) == 3
    provision(own_template)  # adds one, claims one: the oldest
    assert ready(own_template) == 3
    slot = SchemaSlot.objects.filter(template_version=own_template, state="ready").first()
    assert slot is not None
    assert slot.build_seconds > 0
    with psycopg.connect(cluster.dsn().conninfo()) as session:
        can = session.execute(
            "SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname ^@ %s", [slot.schema_name]
        ).fetchone()
    assert can == (False,), "nobody logs in before the claim"


def test_a_new_version_retires_the_stale_slots(own_template: Any, cluster: Cluster, tmp_path: Any) -> None:
    [old] = warm(cluster, own_template)
    (tmp_path / "020.sql").write_text("CREATE TABLE more (id int PRIMARY KEY);\n")
    newer = imported(own_template.template.name, tmp_path, cluster)
    assert newer.number == own_template.number + 1
    pool.reap_slots()
    assert leftovers(cluster, old.schema_name) == []
    assert not SchemaSlot.objects.filter(pk=old.pk).exists()


def test_the_same_content_is_no_new_version(own_template: Any, cluster: Cluster, tmp_path: Any) -> None:
    assert imported(own_template.template.name, tmp_path, cluster).pk == own_template.pk


def test_what_a_dead_builder_left_is_taken_away(own_template: Any, cluster: Cluster) -> None:
    slot = slots.reserve(cluster, own_template)
    slots.create_roles(slot)
    slots.clone_schema(slot)  # and then it died
    SchemaSlot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    pool.reap_slots()
    assert leftovers(cluster, slot.schema_name) == []


def test_a_builder_that_was_given_up_takes_its_own_schema_away(own_template: Any, cluster: Cluster) -> None:
    slot = slots.reserve(cluster, own_template)
    SchemaSlot.objects.filter(pk=slot.pk).delete()
    assert slots.build(slot) is False
    assert leftovers(cluster, slot.schema_name) == []


def test_a_clone_that_differs_is_never_ready(own_template: Any, cluster: Cluster) -> None:
    slot = slots.reserve(cluster, own_template)
    slots.create_roles(slot)
    slot.template_version.script += f"\nDROP POLICY tenant_ro ON {own_template.marker}.notes;"
    with pytest.raises(CloneMismatch):
        slots.clone_schema(slot)
    with connect(cluster.dsn()) as session:
        assert not schemas.exists(session, slot.schema_name), "a wrong clone is not even committed"
    slots.remove(slot)


def test_partitions_are_made_ahead_and_dropped_after_their_retention(own_template: Any, cluster: Cluster) -> None:
    made = provision(own_template)
    schema = made.tenant.schema_name
    targets = [(schema, slots.time_series(own_template))]
    with connect(cluster.dsn(), autocommit=True) as session:
        later = timeseries.maintain(session, targets, timezone.now() + timedelta(days=10))
        assert len(later.created) == 3
        assert len(later.dropped) == 3
        again = timeseries.maintain(session, targets, timezone.now() + timedelta(days=10))
    assert (again.created, again.dropped) == ([], [])
    assert maintenance.maintain_timeseries() >= 3, "back to what today needs"
    assert made.connection is not None
    assert can_log_in(made.connection)
    with psycopg.connect(made.connection.dsn) as session:
        session.execute("INSERT INTO readings VALUES (now(), 1)")
    with connect(cluster.dsn()) as session:
        found = compiler.fingerprints(session, [schema])
    assert found == {schema: slots.expected_fingerprint(own_template, cluster)}


def test_filling_waits_for_the_end_of_a_rush_unless_the_pool_runs_dry(
    own_template: Any, cluster: Cluster, settings: Any
) -> None:
    def claim() -> None:
        name = own_template.template.name
        services.provision_tenant(name="Rush", slug=fresh_slug(), template=name, actor=ACTOR, source=SOURCE)

    settings.POOL_REFILL_DELAY_SECONDS = 600
    # What other tests left waiting for a worker would come first.
    Operation.objects.filter(kind="tenant.provision", state="pending").update(state="cancelled")
    warm(cluster, own_template, 2)
    Cluster.objects.filter(pk=cluster.pk).update(pool_target=2)
    try:
        claim()
        pool.fill_pools()
        assert ready(own_template) == 1, "left alone"
        claim()
        pool.fill_pools()
        assert ready(own_template) == 2, "it was empty"
        for _ in range(pool.RUSH):
            warm(cluster, own_template, 1)
            claim()
        while ready(own_template):
            claim()
        pool.fill_pools()
        assert ready(own_template) == 0, "a rush that no building keeps up with"
        warm(cluster, own_template, 1)
        settings.POOL_REFILL_DELAY_SECONDS = 0
        pool.fill_pools()
        assert ready(own_template) == 2, "calm"
    finally:
        Cluster.objects.filter(pk=cluster.pk).update(pool_target=cluster.pool_target)
