"""`exec`: the command's exit code, its servers, and nothing left afterwards."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.embedded import execute
from tests.embedded.homes import processes_of, wait_until_none

ROOT = Path(__file__).resolve().parents[2]
EXEC = [sys.executable, "-m", "controlplane.embedded", "exec"]
CONNECT = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).execute('SELECT 1')"


def run(env: dict[str, str], *argv: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EXEC, *options, "--", *argv], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def homes_of(server: str, port: str) -> list[Path]:
    """The homes that exec has now with `server` on this port, wherever it puts them."""
    files = [path for place in ("/tmp", "/dev/shm") for path in Path(place).glob(f"cp-exec-*/{server}/port")]
    return [path.parents[1] for path in files if path.read_text().strip() == port]


@pytest.fixture
def waiting(bare_environment: dict[str, str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """A running exec whose command has written the port file's directory and sleeps; (process, home)."""
    script = "import os, sys, time; print(os.environ['REDIS_URL'], flush=True); time.sleep(300)"
    process = subprocess.Popen(
        [*EXEC, "--", sys.executable, "-c", script],
        env=bare_environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = process.stdout.readline().rpartition(":")[2].split("/")[0]
    homes = homes_of("redis", port)
    assert len(homes) == 1
    yield process, homes[0]
    process.kill()
    process.wait()
    process.stdout.close()


def test_environment_and_exit_code(bare_environment: dict[str, str]) -> None:
    script = f"{CONNECT}; import redis; redis.Redis.from_url(os.environ['REDIS_URL']).ping()"
    script += "; psycopg.connect(os.environ['SUPERUSER_DATABASE_URL'])"
    script += "; assert len(os.environ['SECRET_KEY']) > 40 and os.environ['FIELD_ENCRYPTION_KEYS']"
    script += "; print(os.environ['DATABASE_URL']); raise SystemExit(7)"
    result = run(bare_environment, sys.executable, "-c", script)
    assert result.returncode == 7, result.stderr
    port = result.stdout.rpartition(":")[2].split("/")[0]
    assert not homes_of("postgres", port)


@pytest.mark.parametrize(("options", "place"), [((), "/dev/shm"), (("--durable",), "/tmp")])
def test_only_what_need_not_last_is_kept_in_memory(
    bare_environment: dict[str, str], options: tuple[str, ...], place: str
) -> None:
    if not execute.has_room():
        pytest.skip("this machine has no memory to spare")
    script = "import os, psycopg; c = psycopg.connect(os.environ['SUPERUSER_DATABASE_URL'])"
    script += "; print(c.execute('SHOW data_directory').fetchone()[0])"
    result = run(bare_environment, sys.executable, "-c", script, options=options)
    assert result.stdout.startswith(f"{place}/cp-exec-"), result.stderr


def test_a_command_killed_by_a_signal(bare_environment: dict[str, str]) -> None:
    assert run(bare_environment, "bash", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_given_servers_are_used(bare_environment: dict[str, str]) -> None:
    given = {"DATABASE_URL": "postgres://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    result = run({**bare_environment, **given}, "bash", "-c", "echo $DATABASE_URL $REDIS_URL")
    assert result.stdout.split() == list(given.values())


def test_an_unknown_command_is_one_line(bare_environment: dict[str, str]) -> None:
    result = run(bare_environment, "no-such-command-here")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["error: The command no-such-command-here does not exist."]


def test_missing_postgresql_15_is_one_line(bare_environment: dict[str, str], tmp_path: Path) -> None:
    env = {**bare_environment, "POSTGRES15_BIN": str(tmp_path)}
    result = run(env, "true", options=("--with-postgres15",))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "postgresql-15" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command_and_all_is_removed(waiting, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    process, home = waiting
    assert len(processes_of(home)) > 2
    process.send_signal(number)
    assert process.wait(20) in (128 + number, 1)
    assert wait_until_none(home, 2) == []
    assert not home.exists()


def test_a_killed_exec_leaves_no_server_and_the_next_one_sweeps(  # type: ignore[no-untyped-def]
    waiting, bare_environment: dict[str, str]
) -> None:
    process, home = waiting
    process.kill()
    process.wait()
    assert wait_until_none(home, 10) == []
    deadline = time.monotonic() + 10
    while (home / "postgres" / "data" / "postmaster.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert home.exists()
    assert run(bare_environment, "true").returncode == 0
    assert not home.exists()


def test_what_a_restarted_machine_left_is_swept(waiting, bare_environment: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    """Its server's file is still there, and says a number that is now somebody else's."""
    process, home = waiting
    process.kill()
    process.wait()
    assert wait_until_none(home, 10) == []
    (home / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert run(bare_environment, "true").returncode == 0
    assert not home.exists()


def test_what_the_command_leaves_running_is_ended(bare_environment: dict[str, str], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    run(bare_environment, "bash", "-c", f"sleep 300 & echo $! > {pid_file}")
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        if Path(f"/proc/{pid}/stat").exists() and ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
