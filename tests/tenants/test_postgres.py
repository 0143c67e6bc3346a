"""What the server refuses is told as one of our own errors, which say whether to try again."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tenants.exceptions import ClusterBusy
from tenants.postgres import connect


def test_rights_changed_by_two_at_once_are_a_matter_of_trying_again(cluster: Any) -> None:
    dsn = cluster.dsn()
    grant = f"GRANT CONNECT ON DATABASE {dsn.dbname} TO CURRENT_USER"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = %s"
    raised: list[BaseException] = []

    def second() -> None:
        try:
            with connect(dsn, autocommit=True) as session:
                session.execute(grant.encode())
        except ClusterBusy as error:
            raised.append(error)

    with connect(dsn) as first, connect(dsn, autocommit=True) as looking:
        first.execute(grant.encode())
        thread = threading.Thread(target=second)
        thread.start()
        limit = time.monotonic() + 30
        while looking.execute(waiting, [grant]).fetchone() != (1,):
            assert time.monotonic() < limit
            time.sleep(0.02)
        first.commit()
        thread.join(30)
    [error] = raised
    assert "tuple concurrently updated" in str(error)


@pytest.mark.parametrize("statement", ["SELECT 1/0", "SELECT nothing"])
def test_other_errors_stay_what_they_are(cluster: Any, statement: str) -> None:
    from tenants.exceptions import ClusterError

    with pytest.raises(ClusterError) as refused, connect(cluster.dsn()) as session:
        session.execute(statement.encode())
    assert not isinstance(refused.value, ClusterBusy)
