"""`make run` from end to end: ready, one at a time, healed, stopped in time, and back with all data."""

import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from controlplane.embedded import ports
from controlplane.embedded.leftovers import end_marked, marked
from controlplane.embedded.pgbouncer import installed
from tests.embedded.homes import new_home, processes_of, remove_home, wait_until_none

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = RESTART_SECONDS = 15


class Run:
    """One `make run`; its output is collected while it runs."""

    def __init__(self, home: Path, port: int, env: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        command = ["make", "run", f"PORT={port}", f"ARGS=--home {home}"]
        self.process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float) -> float:
        """Seconds from the start until a line matched."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(re.search(pattern, line) for line in self.lines):
                return time.monotonic() - self.began
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{pattern} did not come:\n{self.output}")

    def stop(self, number: signal.Signals) -> float:
        """Seconds from the signal to the end of make."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS + 15)
        self._reader.join(5)
        return time.monotonic() - began


@pytest.fixture
def stranger() -> dict[str, str]:
    """The environment of somebody who has just opened a terminal."""
    kept = ("PATH", "HOME", "USER", "LANG", "TERM", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


@pytest.fixture
def place() -> Iterator[Path]:
    path = new_home()
    yield path
    end_marked(path / "local", seconds=1)
    remove_home(path)


def api(run: Run, key: str) -> httpx.Client:
    return httpx.Client(base_url=f"{run.url}/api/v1", headers={"Authorization": f"Api-Key {key}"}, timeout=30)


def credentials_of(home: Path) -> dict[str, str]:
    lines = (home / "credentials").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def wait_until(true: Callable[[], Any], seconds: float) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.2)
    return False


def assert_nothing_left(home: Path, port: int) -> None:
    assert wait_until_none(home, 1) == []
    assert list(marked(home)) == []
    assert ports.is_free(port)


def assert_tenants_are_told_the_pooler(client: httpx.Client, home: Path) -> None:
    """Where this machine has a PgBouncer, it stands in front: up, and configured by us."""
    pooler = client.get("/clusters").json()["results"][0]["pooler"]
    assert (pooler is not None) == (installed() is not None)
    if pooler is not None:
        assert (pooler["state"], pooler["last_error"]) == ("up", "")
        assert pooler["port"] == ports.remembered(home / "pgbouncer" / "port")
        assert "default_pool_size" in (home / "pgbouncer" / "tenants.ini").read_text()


@pytest.mark.timeout(600)
def test_first_run_stop_and_second_run_with_all_data(stranger: dict[str, str], place: Path) -> None:
    home, port = place / "local", ports.pick()
    first = Run(home, port, stranger)
    first.wait_for(r"^ready", 180)
    try:
        assert httpx.get(f"{first.url}/readyz").status_code == 200
        credentials = credentials_of(home)
        assert stat.S_IMODE((home / "credentials").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "secrets.env").stat().st_mode) == 0o600
        for name in ("password", "api_key"):
            assert first.output.count(credentials[name]) == 1
        with api(first, credentials["api_key"]) as client:
            created = client.post("/tenants", json={"name": "Kept", "slug": "kept-over-restart"})
            assert created.status_code in (201, 202), created.text
            assert_tenants_are_told_the_pooler(client, home)
            # The audit log is chained, signed, and the signed is outside the database.
            assert stat.S_IMODE((home / "audit" / "signing.key").stat().st_mode) == 0o600
            assert wait_until(lambda: client.get("/audit-log").json()["checkpoint"], seconds=20)
            log = client.get("/audit-log").json()
            assert log["checkpoint"]["document"] in (home / "audit" / "checkpoints.jsonl").read_text().splitlines()
        command = ["make", "run", f"PORT={port}", f"ARGS=--home {home}"]
        second = subprocess.run(command, env=stranger, cwd=ROOT, capture_output=True, text=True)
        errors = [line for line in second.stderr.splitlines() if not line.startswith("make")]
        assert second.returncode != 0
        assert len(errors) == 1
        assert "already" in errors[0]
    finally:
        seconds = first.stop(signal.SIGTERM)
    assert seconds < STOP_SECONDS
    assert_nothing_left(home, port)

    assert any(started_again(home, port, stranger, credentials) for _ in range(3))


def processor_seconds(run: Run, home: Path) -> float:
    """What the run has used of the processors so far, commands that have ended included."""
    processes = [*psutil.Process(run.process.pid).children(), *map(psutil.Process, marked(home)), *processes_of(home)]
    unique = {process.pid: sum(process.cpu_times()[:4]) for process in processes}
    return sum(unique.values())


def started_again(home: Path, port: int, env: dict[str, str], credentials: dict[str, str]) -> bool:
    """Start once more, look for everything, stop by SIGINT; returns whether it was ready in time.

    On a machine that others keep busy, what the run itself takes of the processors has to be below the limit.
    """
    run = Run(home, port, env)
    try:
        in_time = run.wait_for(r"^ready", 120) < RESTART_SECONDS
        if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
            in_time = processor_seconds(run, home) < RESTART_SECONDS
        assert credentials["password"] not in run.output
        with api(run, credentials["api_key"]) as client:
            answer = client.get("/tenants", params={"slug": "kept-over-restart"})
            assert answer.status_code == 200, answer.text
            assert "kept-over-restart" in answer.text
    finally:
        seconds = run.stop(signal.SIGINT)
    assert seconds < STOP_SECONDS
    assert_nothing_left(home, port)
    return in_time


def web_of(home: Path) -> psutil.Process:
    """The gunicorn master: the eldest of its processes."""
    found = [psutil.Process(pid) for pid in marked(home)]
    return min((one for one in found if "gunicorn" in one.cmdline()), key=lambda process: process.create_time())


def answers(url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    return False


@pytest.mark.timeout(600)
def test_what_dies_is_started_again_and_a_killed_supervisor_leaves_nothing(
    stranger: dict[str, str], place: Path
) -> None:
    home, port = place / "local", ports.pick()
    run = Run(home, port, stranger)
    run.wait_for(r"^ready", 180)
    web_of(home).kill()
    run.wait_for(r"^web ended unexpectedly", 10)
    assert answers(f"{run.url}/readyz", 30)
    server = next(process for process in processes_of(home / "redis") if "redis-server" in process.name())
    server.kill()
    run.wait_for(r"^redis ended unexpectedly", 10)
    assert answers(f"{run.url}/readyz", 30)
    supervisor = next(process for process in psutil.Process(run.process.pid).children() if process.is_running())
    supervisor.kill()
    run.process.wait(10)
    # The fifteen seconds are promised of an orderly end. What ends here by itself has nobody to urge it on.
    deadline = time.monotonic() + 3 * STOP_SECONDS
    while (list(marked(home)) or processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert_nothing_left(home, port)


def refused(env: dict[str, str], home: Path) -> str:
    """The one line of a run that does not start; nothing was started or made by it."""
    result = subprocess.run(
        ["make", "run", f"ARGS=--home {home}"], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert not (home / "postgres").exists()
    assert list(marked(home)) == []
    return lines[0]


def test_a_port_in_use_is_one_line_before_anything_starts(stranger: dict[str, str], place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert port in refused({**stranger, "PORT": port}, place / "local")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web", "80 80", "８０００"])
def test_a_senseless_port_is_one_line(stranger: dict[str, str], place: Path, port: str) -> None:
    assert "PORT" in refused({**stranger, "PORT": port}, place / "local")


def test_lost_keys_are_noticed_before_anything_is_written(stranger: dict[str, str], place: Path) -> None:
    home = place / "local"
    (home / "postgres" / "data").mkdir(parents=True)
    (home / "credentials").touch()
    result = subprocess.run(
        ["make", "run", f"PORT={ports.pick()}", f"ARGS=--home {home}"],
        env=stranger, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode != 0
    assert "secrets.env is missing" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (home / "secrets.env").exists()
    assert list((home / "postgres" / "data").iterdir()) == []
