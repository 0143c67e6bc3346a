"""The benchmark as a command: what it says, and that nothing of it stays. Never how fast anything was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
import pytest

from provisioning.bench.options import ROWS
from tests.support.databases import PROJECT
from tests.support.fixtures import TINY

pytestmark = pytest.mark.timeout(900)
ROLES = r"""
SELECT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = %s AND r.rolname ^@ 't_'
"""


@dataclass
class Watched:
    """A running benchmark, and what it made on the server and the machine while it ran."""

    process: subprocess.Popen[str]
    database: str = ""
    roles: set[str] = field(default_factory=set)
    processes: set[psutil.Process] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    output: str = ""

    def look(self) -> None:
        """Note roles and processes that exist now."""
        try:
            self.processes.update(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            self.roles.update(row[0] for row in connection.execute(ROLES, [self.database]).fetchall())

    def listen(self) -> Iterator[str]:
        """Its progress, line by line; looks at each."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"cpbench_[0-9a-f]{12}", line):
                self.database = found[0]
            self.look()
            yield line

    def finish(self) -> int:
        """Its exit code, once it has ended."""
        for _ in self.listen():
            pass
        return self.process.wait(60)

    def assert_gone(self) -> None:
        """Neither database nor roles nor processes nor messages are left."""
        assert self.database, "".join(self.said)
        assert self.processes
        assert [process for process in self.processes if process.is_running() and _alive(process)] == []
        stems = {role[:22] for role in self.roles}
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            databases = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database]).fetchall()
            roles = connection.execute(
                "SELECT rolname FROM pg_roles WHERE left(rolname, 22) = ANY(%s)", [list(stems)]
            ).fetchall()
        assert (databases, roles) == ([], [])
        assert _redis_keys(self.database) == []


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _redis_keys(name: str) -> list[Any]:
    import redis

    with redis.Redis.from_url(os.environ["REDIS_URL"]) as server:
        return list(server.scan_iter(match=f"*{name}*"))


@contextmanager
def benchmark(*arguments: str) -> Iterator[Watched]:
    """`manage.py bench_provisioning` on the tiny template."""
    command = [sys.executable, "manage.py", "bench_provisioning", "--template", str(TINY), *arguments]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    watched = Watched(process)
    reader = threading.Thread(target=lambda: setattr(watched, "output", process.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    try:
        yield watched
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        reader.join(10)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def test_one_run_measures_every_row_and_leaves_nothing() -> None:
    with benchmark("--json", "--rounds", "1", "--concurrent", "4") as running:
        code = running.finish()
    assert code == 0, "".join(running.said)
    document = json.loads(running.output)

    assert list(document["rows"]) == list(ROWS)
    for name, row in document["rows"].items():
        assert not row["error"], (name, row)
        assert row["n"] >= 1
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p99_ms"] <= row["max_ms"]
    rows = document["rows"]
    for name in ("burst_empty", "burst_warm"):
        assert (rows[name]["n"], rows[name]["failures"]) == (4, 0)
        assert {"postgres", "web", "worker", "beat", "client"} <= set(rows[name]["cpu_s"])
    assert rows["replay_parallel"]["n"] == 4
    assert set(rows["cold"]["parts"]) == {"create roles", "clone schema", "open login"}
    assert rows["post"]["parts"]["answer without the login"]["median_ms"] < rows["post"]["median_ms"]
    ratios = {ratio["name"]: ratio["value"] for ratio in document["ratios"]}
    expected = rows["cold"]["median_ms"] / rows["replay"]["median_ms"]
    assert ratios["cold ÷ raw replay"] == pytest.approx(expected, rel=0.01)
    assert [type(goal["met"]) for goal in document["goals"]] == [bool] * 5
    assert document["machine"]["cores"] >= 1
    assert {"postgresql", "fsync"} <= set(document["machine"])
    assert set(document["left_out"]) == {"rival_clone", "rival_migrate"}
    assert len(running.roles) > 10
    running.assert_gone()


def test_interrupted_it_takes_everything_away() -> None:
    with benchmark("--rounds", "500", "--only", "replay", "--only", "post") as running:
        for line in running.listen():
            if "round 2 " in line:
                os.killpg(running.process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
                break
        code = running.finish()
    assert code == 130, "".join(running.said)
    assert running.roles
    running.assert_gone()


def test_rows_left_out_are_not_measured_and_goals_without_them_are_open() -> None:
    with benchmark("--json", "--rounds", "1", "--only", "replay") as running:
        assert running.finish() == 0, "".join(running.said)
    document = json.loads(running.output)
    assert list(document["rows"]) == ["replay"]
    assert document["ratios"] == []
    assert [goal["met"] for goal in document["goals"]] == [None] * 5


@pytest.mark.parametrize("arguments", [["--template", "no-such"], ["--rounds", "0"], ["--concurrent", "0"]])
def test_senseless_options_are_refused_before_anything_is_made(arguments: list[str]) -> None:
    with benchmark(*arguments) as running:
        assert running.finish() == 1
    assert "cpbench_" not in "".join(running.said)
