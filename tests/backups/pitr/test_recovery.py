"""One tenant at a moment: written, noted, destroyed, recovered, compared. On a real server, with pgBackRest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from backups.models import Backup, BackupStatus
from backups.pitr import services
from backups.pitr.errors import OutOfRange
from provisioning import credentials
from provisioning import services as lifecycle
from tenants.exceptions import InvalidInput
from tenants.models import Operation, Tenant
from tests.backups.pitr.support import Place, done, moment, nothing_left, rows_of
from tests.backups.support import BY, add_customers
from tests.support.fixtures import fresh_slug


def test_a_destroyed_tenant_comes_back_as_it_was_at_a_moment(place: Place, tenant: Callable[..., Any]) -> None:
    mine, neighbour = tenant(rows=4), tenant(rows=2)
    was = rows_of(mine.connection)
    then = moment()
    add_customers(mine.connection, 3)
    with psycopg.connect(mine.connection.dsn, autocommit=True) as session:
        session.execute("DELETE FROM customers WHERE name < 'c3'")
    add_customers(neighbour.connection, 1)
    now = rows_of(neighbour.connection)

    begun = services.recover_tenant(
        tenant_id=mine.pk, to=then, into="same", confirm_slug=mine.slug, reason="rows were deleted", **BY
    )
    operation = done(begun.operation)
    done(Operation.objects.get(pk=operation.result["restore"]))

    assert rows_of(mine.connection) == was, "the same login sees the rows of that moment"
    assert rows_of(neighbour.connection) == now, "nobody else went back"
    backup = Backup.objects.get(pk=begun.backup.pk)
    assert (backup.state, backup.origin, backup.snapshot_at) == ("succeeded", "point_in_time", then)
    status = BackupStatus.objects.filter(tenant=mine).first()
    assert status is None or status.last_backup_id != backup.pk, "it says nothing of how the tenant stands now"
    assert nothing_left(begun.recovery)
    assert list(place.row.scratch.iterdir()) == []


def test_a_dropped_table_comes_back_in_a_new_tenant(tenant: Callable[..., Any], place: Place) -> None:
    mine = tenant(rows=5)
    was, then = rows_of(mine.connection), moment()
    with psycopg.connect(place.server.superuser_url.rpartition("/")[0] + f"/{place.cluster.dbname}") as session:
        session.execute(f'DROP TABLE "{mine.schema_name}".customers CASCADE')
    slug = fresh_slug()
    begun = services.recover_tenant(tenant_id=mine.pk, to=then, into="new", slug=slug, **BY)
    restoring = done(Operation.objects.get(pk=done(begun.operation).result["restore"]))
    copy = Tenant.objects.get(slug=slug)
    assert copy.pk == restoring.tenant_id
    assert rows_of(credentials.collect_credentials(operation_id=restoring.pk, **BY)) == was
    assert nothing_left(begun.recovery)


def test_what_cannot_be_recovered_is_refused_at_once(place: Place, tenant: Callable[..., Any]) -> None:
    mine = tenant()
    before = Operation.objects.filter(tenant=mine).count()
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"to": datetime.now(UTC) + timedelta(hours=1)}, OutOfRange),
        ({"to": place.row.earliest - timedelta(days=1)}, OutOfRange),  # type: ignore[operator]
        ({"to": mine.created_at - timedelta(seconds=1)}, OutOfRange),
        ({"to": datetime.now()}, InvalidInput),  # noqa: DTZ005
        ({"to": moment(), "into": "same", "confirm_slug": "other", "reason": "x"}, InvalidInput),
        ({"to": moment(), "into": "same", "confirm_slug": mine.slug, "reason": " "}, InvalidInput),
    ]
    for values, error in refused:
        with pytest.raises(error):
            services.recover_tenant(tenant_id=mine.pk, **values, **BY)
    assert Operation.objects.filter(tenant=mine).count() == before
    assert not Backup.objects.filter(origin_id=mine.pk).exists()


def test_a_purged_tenant_comes_back_as_a_new_one(tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=3)
    was, then = rows_of(mine.connection), moment()
    lifecycle.delete_tenant(tenant_id=mine.pk, **BY)
    purge = lifecycle.purge_tenant(tenant_id=mine.pk, confirm_slug=mine.slug, reason="test", force=True, **BY)
    assert purge.operation is not None
    done(purge.operation)
    begun = services.recover_tenant(tenant_id=mine.pk, to=then, into="new", slug=fresh_slug(), **BY)
    restoring = done(Operation.objects.get(pk=done(begun.operation).result["restore"]))
    assert rows_of(credentials.collect_credentials(operation_id=restoring.pk, **BY)) == was
    assert nothing_left(begun.recovery)
