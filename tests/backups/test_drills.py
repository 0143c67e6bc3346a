"""Drills: a backup is proven by restoring it, in turn and on demand; one that cannot be restored is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from backups.models import Backup, RestoreDrill
from backups.restores import drilling
from backups.services import drills, recovery
from provisioning.isolation import check_isolation
from tenants import operations
from tenants.exceptions import Conflict
from tenants.models import IsolationFinding, Operation, Tenant
from tenants.postgres import connect
from tenants.schemas import roles
from tests.backups.support import BY, back_up, events
from tests.commands.support import call
from tests.provisioning.support import leftovers


def hold(drill: RestoreDrill) -> RestoreDrill:
    operations.work(drill.operation_id)
    drill.refresh_from_db()
    return drill


def only(*tenants: Any) -> None:
    """Others' tenants of this database are not candidates meanwhile."""
    others = Backup.objects.exclude(origin_id__in=[tenant.pk for tenant in tenants])
    others.update(damaged_at=timezone.now())


def test_a_drill_proves_a_backup_and_leaves_nothing(
    tenant: Callable[..., Any], home: Any, api_client: Callable[..., Any]
) -> None:
    mine = tenant(rows=500)
    backup = back_up(mine)
    told = call("drill_backup", str(backup.pk), "--here")["drill"]
    assert (told["state"], told["rows"]) == ("succeeded", backup.rows)
    drill = RestoreDrill.objects.get(pk=told["id"])
    assert drill.checks["tables"] == backup.tables
    assert leftovers(home.cluster, drill.scratch_schema) == []
    backup.refresh_from_db()
    assert backup.proven_at is not None
    assert events("backup.drill", backup).get().outcome == "success"
    api = api_client("backups:read", "backups:write")
    found = api.get(f"/api/v1/tenants/{mine.pk}/recovery").json()
    assert (found["proven_backup"], found["failed_at"]) == (str(backup.pk), None)
    assert found["expected"]["measured_by"] >= 1
    assert api.post(f"/api/v1/backups/{backup.pk}/drill", {}).status_code == 202


def test_content_that_differs_fails_the_drill(
    tenant: Callable[..., Any], home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is not as it was, though counts and fingerprint are right."""
    mine = tenant(rows=3)
    backup = back_up(mine)
    compare = drilling._compare

    def alter_first(run: Any, cluster: Any, schema: str, source: Any) -> None:
        with connect(cluster.dsn(), autocommit=True) as link, roles.as_owner(link, schema):
            link.execute(
                f"UPDATE {schema}.customers SET name = 'x' WHERE id = (SELECT max(id) FROM {schema}.customers)".encode()
            )
        compare(run, cluster, schema, source)

    monkeypatch.setattr(drilling, "_compare", alter_first)
    drill = hold(drills.run_drill(backup=backup, **BY).drill)
    assert drill.state == "failed"
    assert "customers" in drill.error
    assert leftovers(home.cluster, drill.scratch_schema) == []
    backup.refresh_from_db()
    assert backup.proven_at is None
    assert events("backup.drill", backup).get().outcome == "failure"
    assert recovery.of_tenant(mine).failure == drill.error


def test_a_damaged_backup_fails_its_drill_naming_the_file(tenant: Callable[..., Any], tmp_path: Path) -> None:
    backup = back_up(tenant())
    file = next((tmp_path / "backups").rglob("data-0001.cpb"))
    content = file.read_bytes()
    file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    drill = hold(drills.run_drill(backup=backup, **BY).drill)
    assert drill.state == "failed"
    assert "data-0001.cpb" in drill.error


def test_tenants_come_in_turn_and_at_once_when_their_template_has_changed(tenant: Callable[..., Any]) -> None:
    mine = tenant()
    first = back_up(mine)
    only(mine)
    assert drills.drills_due() == 1
    assert drills.drills_due() == 0, "it is being proven"
    with pytest.raises(Conflict):
        drills.run_drill(backup=first, **BY)
    assert hold(RestoreDrill.objects.get(backup=first)).state == "succeeded"
    assert drills.drills_due() == 0, "it was proven lately"
    second = back_up(mine)
    assert drills.drills_due() == 0
    Backup.objects.filter(pk=second.pk).update(template_version=second.template_version + 1)
    assert drills.drills_due() == 1
    assert hold(RestoreDrill.objects.get(backup=second)).state == "succeeded"
    RestoreDrill.objects.filter(tenant=mine.pk).update(finished_at=timezone.now() - timedelta(days=31))
    assert drills.drills_due() == 1
    Operation.objects.filter(kind="backup.drill", state="pending").update(state="cancelled")


def test_no_drill_where_the_policy_wants_none(tenant: Callable[..., Any]) -> None:
    mine = tenant(drill_every_days=0)
    back_up(mine)
    only(mine)
    assert drills.drills_due() == 0


def test_what_is_being_made_is_no_finding(tenant: Callable[..., Any], home: Any) -> None:
    """A scratch schema whose tables are not protected yet; without its row it is found."""
    backup = back_up(tenant())
    drill = drills.run_drill(backup=backup, **BY).drill
    schema = drill.scratch_schema
    with connect(home.cluster.dsn(), autocommit=True) as link:
        roles.create_roles(link, schema, search_path=[schema])
        roles.take_owner(link, schema)
        link.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner".encode())
        link.execute(f"SET ROLE {schema}_owner; CREATE TABLE {schema}.open (id int); RESET ROLE".encode())
        link.execute(roles.QUERIES["release_owner"], [schema])
    mine = IsolationFinding.objects.filter(cluster=home.cluster, schema_name=schema, resolved_at=None)
    check_isolation(cluster=home.cluster, sample=0, **BY)
    assert not mine.exists()
    RestoreDrill.objects.filter(pk=drill.pk).update(dropped_at=timezone.now())
    check_isolation(cluster=home.cluster, sample=0, **BY)
    assert mine.exists()
    RestoreDrill.objects.filter(pk=drill.pk).update(dropped_at=None)
    assert hold(drill).state == "succeeded"
    assert leftovers(home.cluster, schema) == []
    assert Tenant.objects.filter(pk=backup.tenant_id, state="active").exists()
