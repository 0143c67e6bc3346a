"""The embedded PostgreSQL: what it is set to, and how it comes up again after every kind of accident."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from controlplane.embedded.account import service_account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.postgres import EmbeddedPostgres, default_bin_dir
from tests.embedded.homes import wait_until_none


def make(home: Path, **options: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(home / "postgres", durable=False, say=lambda _: None, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(module_home: Path) -> Iterator[EmbeddedPostgres]:
    server = make(module_home)
    server.start()
    server.bootstrap()
    yield server
    server.stop()


def value(url: str, query: str, *parameters: object) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def one_line(error: pytest.ExceptionInfo[EmbeddedServerError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_settings(server: EmbeddedPostgres) -> None:
    expected = {
        "password_encryption": "scram-sha-256",
        "max_connections": "400",
        "max_locks_per_transaction": "256",
        "listen_addresses": "127.0.0.1",
        "data_checksums": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "fsync": "off",
        "unix_socket_permissions": "0700",
    }
    found = {name: value(server.superuser_url, "SELECT current_setting(%s)", name) for name in expected}
    assert found == expected


def test_it_listens_on_loopback_only(server: EmbeddedPostgres) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    local = [line.split()[1] for line in lines[1:] if line.split()[3:4] == ["0A"]]
    addresses = {entry.split(":")[0] for entry in local if entry.endswith(f":{server.port:04X}")}
    assert addresses == {"0100007F"}


@pytest.mark.parametrize("user", ["postgres", "controlplane"])
@pytest.mark.parametrize("way", ["tcp", "socket"])
@pytest.mark.parametrize("password", ["wrong", ""])
def test_no_entry_without_the_password(server: EmbeddedPostgres, user: str, way: str, password: str) -> None:
    host = "127.0.0.1" if way == "tcp" else str(server.socket_dir)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=host, port=server.port, user=user, password=password, dbname="controlplane")


def test_the_right_password_enters_by_the_socket(server: EmbeddedPostgres) -> None:
    password = (server.home / "superuser.password").read_text().strip()
    with psycopg.connect(
        host=str(server.socket_dir), port=server.port, user="postgres", password=password, dbname="controlplane"
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_no_line_of_pg_hba_trusts(server: EmbeddedPostgres) -> None:
    methods = value(server.superuser_url, "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules")
    assert methods == ["scram-sha-256"]


def test_secrets_are_private_files(server: EmbeddedPostgres) -> None:
    for name in ("superuser.password", "controlplane.password", "log/postgres.log", "log/postgres.json"):
        assert stat.S_IMODE((server.home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert not (server.home / "initdb.password").exists()


def test_the_server_does_not_run_as_root(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    command_line = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert (server.home / "superuser.password").read_text().strip() not in command_line


def test_bootstrap_gives_the_control_plane_what_it_needs(server: EmbeddedPostgres) -> None:
    server.bootstrap()  # a second time changes nothing
    with psycopg.connect(server.url, autocommit=True) as connection:
        role = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert role == (False, True, True, False, False)
        connection.execute("SET temp_file_limit = '10MB'")
        connection.execute("SELECT count(*) FROM extensions.pg_stat_statements")
        for group in ("pg_monitor", "pg_signal_backend", "cp_tenants"):
            row = connection.execute("SELECT pg_has_role(current_user, %s, 'MEMBER')", [group]).fetchone()
            assert row == (True,)
        connection.execute("CREATE ROLE probe_of_bootstrap NOLOGIN")
        connection.execute("GRANT cp_tenants TO probe_of_bootstrap")
        connection.execute("DROP ROLE probe_of_bootstrap")


def test_a_tenant_reaches_no_maintenance_database(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE probe_of_tenants NOLOGIN")
        try:
            for database in ("postgres", "template1"):
                row = connection.execute(
                    "SELECT has_database_privilege('probe_of_tenants', %s, 'CONNECT')", [database]
                ).fetchone()
                assert row == (False,)
        finally:
            connection.execute("DROP ROLE probe_of_tenants")


def test_a_home_is_used_by_one_at_a_time(server: EmbeddedPostgres, module_home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=f"process {os.getpid()}") as error:
        make(module_home).start()
    one_line(error)
    assert server.is_running()


@pytest.fixture
def used(home: Path) -> EmbeddedPostgres:
    """A stopped server whose table `kept` holds one row."""
    server = make(home)
    server.start()
    server.bootstrap()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    return server


def answer(server: EmbeddedPostgres) -> object:
    return value(server.url, "SELECT answer FROM kept")


def test_restart_keeps_data_port_and_passwords(used: EmbeddedPostgres, home: Path) -> None:
    url = used.url
    assert wait_until_none(home, 3) == []
    again = make(home)
    again.start()
    try:
        assert again.url == url
        assert answer(again) == 42
    finally:
        again.stop()


def test_a_taken_port_is_replaced_and_said(used: EmbeddedPostgres, home: Path) -> None:
    said: list[str] = []
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", used.port))
        other.listen()
        again = EmbeddedPostgres(home / "postgres", durable=True, say=said.append)
        again.start()
        try:
            assert again.port != used.port
            assert answer(again) == 42
        finally:
            again.stop()
    assert len(said) == 1
    assert str(used.port) in said[0]
    assert str(again.port) in said[0]


def test_a_stale_pid_file_of_a_living_stranger_does_not_matter(used: EmbeddedPostgres, home: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (used.data / "postmaster.pid").write_text(f"{stranger.pid}\n{used.data}\n1\n{used.port}\n")
        again = make(home)
        again.start()
        assert answer(again) == 42
        again.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_orphan_of_a_killed_run_is_stopped_first(used: EmbeddedPostgres, home: Path) -> None:
    argv = [str(used.bin_dir / "postgres"), "-D", str(used.data)]
    argv += ["-c", f"config_file={used.home / 'postgresql.conf'}"]
    account = service_account(used.data)
    orphan = subprocess.Popen(account.command(argv), stderr=subprocess.DEVNULL, cwd="/", start_new_session=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (used.data / "postmaster.pid").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    again = make(home)
    again.start()
    try:
        assert orphan.wait(5) is not None
        assert again.port == used.port
        assert answer(again) == 42
    finally:
        again.stop()


def test_a_killed_postmaster_recovers(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres", durable=True, say=lambda _: None)
    server.start()
    server.bootstrap()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_until_none(home, 5)
    assert not server.is_running()
    server.stop()
    again = make(home)
    again.start()
    try:
        assert answer(again) == 42
    finally:
        again.stop()


def test_an_interrupted_initdb_leaves_nothing_in_the_way(home: Path) -> None:
    (home / "postgres").mkdir(mode=0o711)
    (home / "postgres" / "staging").mkdir()
    (home / "postgres" / "staging" / "PG_VERSION").write_text("18\n")
    server = make(home)
    server.start()
    server.stop()


def no_version(data: Path) -> None:
    (data / "PG_VERSION").unlink()


def no_control_file(data: Path) -> None:
    (data / "global" / "pg_control").unlink()


def torn_control_file(data: Path) -> None:
    (data / "global" / "pg_control").write_bytes(b"\0" * 8192)


def no_configuration(data: Path) -> None:
    (data / "postgresql.conf").write_text("this is = not = configuration\n")


@pytest.mark.parametrize("damage", [no_version, no_control_file, torn_control_file, no_configuration])
def test_a_corrupt_directory_is_one_clear_line(used: EmbeddedPostgres, home: Path, damage: object) -> None:
    damage(used.data)  # type: ignore[operator]
    with pytest.raises(EmbeddedServerError) as error:
        make(home).start()
    text = one_line(error)
    assert str(used.data) in text
    assert "postgres.log" in text
    assert "move it away" in text
    assert wait_until_none(home, 3) == []


def test_another_major_version_is_one_clear_line(used: EmbeddedPostgres, home: Path) -> None:
    (used.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match="PostgreSQL 17") as error:
        make(home).start()
    assert "POSTGRES_BIN" in one_line(error)


def test_a_missing_system_library_is_named(home: Path) -> None:
    # The wheel's programs find their libpq beside them; a lone copy does not.
    programs = home / "bin"
    programs.mkdir()
    shutil.copy2(default_bin_dir() / "psql", programs / "postgres")
    if b"not found" not in subprocess.run(["ldd", programs / "postgres"], capture_output=True).stdout:
        pytest.skip("the system has the library")
    with pytest.raises(EmbeddedServerError, match="libpq") as error:
        make(home, bin_dir=programs).start()
    one_line(error)


def test_missing_programs_are_one_clear_line(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="POSTGRES_BIN"):
        make(home, bin_dir=home / "nowhere").start()


@pytest.mark.parametrize("name", ["x" * 90, """it's a "place", or ü \\ n"""])
def test_a_long_or_odd_path_still_gets_a_socket(home: Path, name: str) -> None:
    odd_home = home / name
    odd_home.mkdir(mode=0o711)
    server = make(odd_home)
    server.start()
    socket_dir = server.socket_dir
    password = (server.home / "superuser.password").read_text().strip()
    psycopg.connect(
        host=str(socket_dir), port=server.port, user="postgres", password=password, dbname="postgres"
    ).close()
    server.stop()
    assert not socket_dir.exists()
