"""The restore wizard: what it would change, the typed confirmation, and the way back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from backups.models import KeptSchema, RestoreDrill
from tenants import operations
from tenants.models import Operation, Tenant
from tests.admin.conftest import browse as browse
from tests.admin.conftest import groups as groups
from tests.admin.conftest import person as person
from tests.admin.support import tenant_url, text_of, url
from tests.backups.support import add_customers, back_up
from tests.backups.test_restore import count
from tests.support.fixtures import fresh_slug


def work(response: Any) -> None:
    """Carry out the operation that a page led to."""
    assert response.status_code == 302, response.context["form"].errors
    operations.work(response["Location"].rstrip("/").split("/")[-2])


def test_a_restore_in_place_by_hand_and_back(tenant: Callable[..., Any], browse: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    client = browse("administrator")
    page = url("backups_backup_restore", backup.pk)
    shown = text_of(client.get(page))
    assert "customers: 1 rows more than the backup has" in shown
    assert "The schema" in shown
    wrong = client.post(page, {"confirm_slug": "else", "reason": "x", "keep_days": 7})
    assert "confirm_slug" in wrong.context["form"].errors
    assert not Operation.objects.filter(kind="backup.restore", tenant=mine.pk).exists()
    work(client.post(page, {"confirm_slug": mine.slug, "reason": "wrong import", "keep_days": 3}))
    assert count(mine.connection) == 2
    kept = KeptSchema.objects.get(tenant=mine.pk)
    assert "Set aside by a restore" in text_of(client.get(tenant_url(mine)))
    assert "Undo the restore" in text_of(client.get(url("backups_keptschema_change", kept.pk)))
    work(client.post(url("backups_keptschema_undo", kept.pk), {"confirm_slug": mine.slug, "reason": "no"}))
    assert count(mine.connection) == 3
    work(client.post(url("backups_keptschema_confirm", kept.pk), {"reason": ""}))
    kept.refresh_from_db()
    assert kept.state == "dropped"


def test_a_new_tenant_and_a_drill_by_hand(tenant: Callable[..., Any], browse: Callable[..., Any]) -> None:
    backup = back_up(tenant(rows=2))
    client, slug = browse("administrator"), fresh_slug()
    page = url("backups_backup_copy", backup.pk)
    taken = client.post(page, {"slug": backup.slug})
    assert "slug" in taken.context["form"].errors
    work(client.post(page, {"slug": slug}))
    assert Tenant.objects.get(slug=slug).state == "active"
    work(client.post(url("backups_backup_drill", backup.pk)))
    assert RestoreDrill.objects.get(backup=backup).state == "succeeded"


def test_some_tables_by_hand(tenant: Callable[..., Any], browse: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    client = browse("administrator")
    page = url("backups_backup_restore_tables", backup.pk)
    shown = text_of(client.get(page))
    found = re.search(r"customers \((\d+) then, (\d+) now\)", shown)
    assert found is not None, shown
    assert int(found[2]) == int(found[1]) + 1
    assert "a copy beside this one" in shown
    none = client.post(page, {"confirm_slug": mine.slug, "reason": "x"})
    assert "tables" in none.context["form"].errors
    work(client.post(page, {"tables": ["customers", "orders"], "confirm_slug": mine.slug, "reason": "wrong import"}))
    assert count(mine.connection) == 2
    assert "Expected restore" in text_of(client.get(tenant_url(mine)))


@pytest.mark.parametrize("name", ["restore", "restore_tables", "copy"])
def test_only_who_may_restores(tenant: Callable[..., Any], browse: Callable[..., Any], name: str) -> None:
    backup = back_up(tenant())
    client = browse("operator")
    assert client.get(url(f"backups_backup_{name}", backup.pk)).status_code == 403
    assert "Restore into a new tenant" not in text_of(client.get(url("backups_backup_change", backup.pk)))
