"""A small PostgreSQL of its own that archives its WAL, with tenants on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.embedded.execute import POSTGRES15_BIN
from controlplane.embedded.postgres import EmbeddedPostgres
from tests.backups.pitr.support import Place
from tests.backups.support import Home, new_disk


@pytest.fixture(scope="session")
def place(template: Any) -> Iterator[Place]:
    """The cluster, archiving, with a first base backup."""
    from tests.isolation.arena import Server, empty_cluster

    if shutil.which("pgbackrest") is None:
        pytest.skip("no pgBackRest is installed")
    if not (POSTGRES15_BIN / "postgres").exists():
        pytest.skip("no PostgreSQL 15 is installed, the newest that Debian's pgBackRest knows")
    root = Path(tempfile.mkdtemp(prefix="cp-pitr-", dir="/tmp"))
    root.chmod(0o711)
    server = EmbeddedPostgres(root / "postgres", bin_dir=POSTGRES15_BIN, durable=False)
    try:
        server.start()
        server.bootstrap()
        with empty_cluster(Server(15, server.url, server.superuser_url)) as cluster:
            made = Place(server, cluster, template, root)
            made.set_up()
            yield made
            made.forget()
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def tenant(place: Place, tmp_path: Path) -> Callable[..., Any]:
    """`tenant(rows=3)`: a tenant there with so many customers."""
    disk = new_disk(tmp_path / "backups")

    def make(rows: int = 3) -> Any:
        return Home(place.server, place.cluster, place.template).tenant(rows, disk)

    return make
