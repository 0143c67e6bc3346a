"""A cluster with a login that reads for backups, tenants on it, and directories to back them up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backups.support import Home


@pytest.fixture(scope="session")
def home(template: Any) -> Iterator[Home]:
    """The newest PostgreSQL, prepared as an operator does it."""
    from tenants.postgres import close_pools
    from tests.isolation.arena import SERVERS, cluster_at

    server = SERVERS[18]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        yield Home(server, cluster, template)
        close_pools()


@pytest.fixture
def disk(tmp_path: Path) -> Any:
    """A storage of this test's own, in a directory."""
    from tests.backups.support import new_disk

    return new_disk(tmp_path / "backups")


@pytest.fixture
def tenant(home: Home, disk: Any) -> Callable[..., Any]:
    """`tenant(rows=3)`: a tenant with so many customers, whose backups go to `disk`."""

    def make(rows: int = 3, **override: Any) -> Any:
        return home.tenant(rows, disk, **override)

    return make
