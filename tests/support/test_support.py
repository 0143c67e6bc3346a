"""The ground the other tests stand on."""

from __future__ import annotations

from django.core.cache import cache
from django.db import connection

from tests.support.environment import DATABASE


def test_each_process_has_its_own_database_and_redis(cluster):
    """What one test process does, another cannot see."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (DATABASE,)
    cache.set("mine", DATABASE)
    assert cache.get("mine") == DATABASE
    assert cluster.dsn().dbname == DATABASE


def test_tests_commit_for_real():
    """Another connection sees what a test writes."""
    assert not connection.in_atomic_block
