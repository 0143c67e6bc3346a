"""Root's servers: run by somebody else, and reachable for that account without opening closed directories."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from controlplane.embedded.account import service_account, shared_place
from controlplane.embedded.postgres import EmbeddedPostgres, default_bin_dir

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root starts servers as somebody else")


@pytest.fixture
def closed(home: Path) -> Iterator[Path]:
    """A project directory only root can enter."""
    project = home / "project"
    (project / ".local").mkdir(parents=True)
    project.chmod(0o700)
    yield project
    place = shared_place(project)
    shutil.rmtree(place)


def make(project: Path, said: list[str]) -> EmbeddedPostgres:
    return EmbeddedPostgres(project / ".local" / "postgres", durable=False, project=project, say=said.append)


def test_data_of_a_closed_project_lies_where_the_account_can_go(closed: Path) -> None:
    said: list[str] = []
    server = make(closed, said)
    server.start()
    try:
        server.bootstrap()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    finally:
        server.stop()
    link = closed / ".local" / "postgres"
    assert link.is_symlink()
    assert link.resolve().is_relative_to(shared_place(closed))
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert any(str(link.resolve()) in line for line in said)
    said.clear()
    again = make(closed, said)
    again.start()
    try:
        with psycopg.connect(again.url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    finally:
        again.stop()
    assert said == []


def test_data_of_an_earlier_checkout_is_set_aside(closed: Path) -> None:
    server = make(closed, [])
    server.start()
    server.stop()
    (closed / ".local" / "postgres").unlink()
    said: list[str] = []
    again = make(closed, said)
    again.start()
    again.stop()
    assert any("set aside" in line for line in said)
    assert len(list(shared_place(closed).glob("postgres.2*/data/PG_VERSION"))) == 1


def test_closed_programs_of_others_are_one_clear_line(closed: Path, home: Path) -> None:
    from controlplane.embedded.errors import EmbeddedServerError

    programs = closed / "bin"
    programs.mkdir()
    shutil.copy2(default_bin_dir() / "postgres", programs / "postgres")
    with pytest.raises(EmbeddedServerError, match="readable by all") as error:
        EmbeddedPostgres(home / "postgres", bin_dir=programs, project=closed).start()
    assert "\n" not in str(error.value)


def test_the_owner_of_existing_data_runs_it(home: Path) -> None:
    data = home / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    assert service_account(data).name == "nobody"
    assert service_account(data).switch
