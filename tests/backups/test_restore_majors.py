"""Backups of PostgreSQL 15 restored on 18, and never the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backups.services import restore
from provisioning import credentials
from tenants import operations
from tenants.exceptions import Conflict
from tenants.models import Tenant
from tenants.postgres import close_pools
from tests.backups.support import BY, Home, back_up
from tests.backups.test_restore import count
from tests.isolation.arena import SERVERS, cluster_at
from tests.support.fixtures import fresh_slug


@pytest.fixture(scope="module")
def old_home(template: Any) -> Iterator[Home]:
    """PostgreSQL 15."""
    server = SERVERS[15]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        yield Home(server, cluster, template)
        close_pools()


def test_a_tenant_of_15_becomes_one_of_18(old_home: Home, home: Home, disk: Any) -> None:
    old = old_home.tenant(6, disk)
    backup = back_up(old)
    assert backup.server_version // 10_000 == 15
    begun = restore.restore_to_new(backup=backup, slug=fresh_slug(), cluster=home.cluster.name, **BY)
    operations.work(begun.operation.pk)
    begun.operation.refresh_from_db()
    assert begun.operation.state == "succeeded", begun.operation.error
    copy = Tenant.objects.select_related("cluster").get(pk=begun.tenant.pk)
    assert copy.cluster_id == home.cluster.pk
    assert count(credentials.collect_credentials(operation_id=begun.operation.pk, **BY)) == 6
    assert back_up(copy).server_version // 10_000 == 18


def test_a_backup_of_18_is_refused_on_15_before_anything_is_written(old_home: Home, home: Home, disk: Any) -> None:
    backup = back_up(home.tenant(1, disk))
    slug = fresh_slug()
    with pytest.raises(Conflict) as caught:
        restore.restore_to_new(backup=backup, slug=slug, cluster=old_home.cluster.name, **BY)
    assert caught.value.code == "server_older"
    assert not Tenant.objects.filter(slug=slug).exists()
