"""Some tables alone: their rows replaced in one transaction, or a refusal that says which key forbids it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from backups.models import Backup, KeptSchema
from backups.services import restore
from tenants import operations
from tenants.exceptions import InvalidInput
from tests.backups.support import BY, add_customers, back_up
from tests.backups.test_restore import count, done, work
from tests.commands.support import call
from tests.provisioning.support import leftovers


def orders(connection: Any, *statements: str) -> int:
    """Carry these out as the tenant; how many orders there are then."""
    with psycopg.connect(connection.dsn, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())
        return int(session.execute("SELECT count(*) FROM orders").fetchone()[0])  # type: ignore[index]


ORDER = "INSERT INTO orders (customer_id, side, quantity, price) SELECT min(id), 'buy', 2, 3 FROM customers"


def test_one_table_gets_its_rows_back_and_the_others_keep_theirs(
    tenant: Callable[..., Any], home: Any, disk: Any
) -> None:
    mine = tenant(rows=2)
    assert orders(mine.connection, ORDER, ORDER) == 2
    backup = back_up(mine)
    add_customers(mine.connection, 3)
    assert orders(mine.connection, "DELETE FROM orders", ORDER) == 1
    told = call(
        "restore_backup", str(backup.pk), "--tables", "orders", "--confirm", mine.slug, "--reason", "x", "--here"
    )
    assert told["operation"]["result"]["tables"] == ["orders"]
    assert (orders(mine.connection), count(mine.connection)) == (2, 5)
    assert orders(mine.connection, ORDER) == 3, "its sequence goes on"
    assert Backup.objects.get(origin="before_restore", origin_id=mine.pk).state == "succeeded"
    assert not KeptSchema.objects.filter(tenant=mine.pk).exists()


def test_a_foreign_key_forbids_it_and_nothing_happens(tenant: Callable[..., Any], home: Any) -> None:
    mine = tenant(rows=2)
    orders(mine.connection, ORDER)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    sure = {"confirm_slug": mine.slug, "reason": "x", "backup_before": False}
    begun = restore.restore_tables(backup=backup, tables=["customers"], **sure, **BY)
    operation = work(begun.operation)
    assert (operation.state, operation.error["code"]) == ("failed", "rows_refused")
    assert "orders" in operation.error["message"]
    assert (count(mine.connection), orders(mine.connection)) == (3, 1)
    assert begun.kept is not None
    assert leftovers(home.cluster, begun.kept.incoming_schema) == []
    done(restore.restore_tables(backup=backup, tables=["customers", "orders"], **sure, **BY).operation)
    assert (count(mine.connection), orders(mine.connection)) == (2, 1)


def test_tables_that_the_backup_has_not_are_refused_by_name(tenant: Callable[..., Any]) -> None:
    mine = tenant()
    backup = back_up(mine)
    with pytest.raises(InvalidInput, match="no table nothing"):
        restore.restore_tables(backup=backup, tables=["nothing"], confirm_slug=mine.slug, reason="x", **BY)


def test_a_refusal_names_the_key_and_no_value(tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    orders(mine.connection, ORDER)
    backup = back_up(mine)
    orders(mine.connection, "DELETE FROM orders", "DELETE FROM customers")
    sure = {"confirm_slug": mine.slug, "reason": "x", "backup_before": False}
    begun = restore.restore_tables(backup=backup, tables=["orders"], **sure, **BY)
    operation = work(begun.operation)
    assert (operation.state, operation.error["code"]) == ("failed", "rows_refused")
    assert "foreign key constraint" in operation.error["message"]
    assert "=(" not in operation.error["message"]
    # When what was in its way is there again the same choices lead to the end.
    done(restore.restore_tables(backup=backup, tables=["customers", "orders"], **sure, **BY).operation)
    orders(mine.connection, "DELETE FROM orders")
    again = done(operations.retry(operation, **BY))
    assert (again.retry_of_id, again.result["tables"]) == (operation.pk, ["orders"])
    assert orders(mine.connection) == 1
    assert not Backup.objects.filter(origin="before_restore", origin_id=mine.pk).exists(), "as it was chosen then"
