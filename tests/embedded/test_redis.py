"""The embedded Redis: password, loopback, persistence, accidents."""

import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from controlplane.embedded.account import service_account
from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.redis import EmbeddedRedis
from tests.embedded.homes import wait_until_none


def make(home: Path, *, durable: bool = True) -> EmbeddedRedis:
    return EmbeddedRedis(home / "redis", durable=durable, say=lambda _: None)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedRedis]:
    server = make(home)
    server.start()
    yield server
    server.stop()


def test_the_password_is_needed_and_private(server: EmbeddedRedis) -> None:
    assert redis.Redis.from_url(server.url).ping()
    for password in (None, "wrong"):
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=server.port, password=password, retry=Retry(NoBackoff(), 0)).ping()
    for name in ("redis.conf", "redis.password", "redis.log"):
        assert stat.S_IMODE((server.home / name).stat().st_mode) == 0o600
    assert server.password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_it_listens_on_loopback_only(server: EmbeddedRedis) -> None:
    assert redis.Redis.from_url(server.url).config_get("bind") == {"bind": "127.0.0.1"}


def test_data_port_and_password_survive_a_restart(server: EmbeddedRedis, home: Path) -> None:
    url = server.url
    redis.Redis.from_url(url).set("kept", "42")
    server.stop()
    assert wait_until_none(home, 3) == []
    again = make(home)
    again.start()
    try:
        assert again.url == url
        assert redis.Redis.from_url(url).get("kept") == b"42"
    finally:
        again.stop()


def test_throwaway_writes_nothing(home: Path) -> None:
    server = make(home, durable=False)
    server.start()
    redis.Redis.from_url(server.url).set("gone", "1")
    server.stop()
    assert list(server.data.iterdir()) == []


def test_a_taken_port_is_replaced(server: EmbeddedRedis, home: Path) -> None:
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.port))
        other.listen()
        again = make(home)
        again.start()
        assert again.port != server.port
        again.stop()


def test_an_orphan_is_stopped_first(server: EmbeddedRedis, home: Path) -> None:
    server.stop()
    argv = service_account(server.data).command([str(server.binary), str(server.home / "redis.conf")])
    orphan = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
    (server.home / "pid").write_text(f"{orphan.pid}\n")
    time.sleep(0.5)
    again = make(home)
    again.start()
    try:
        assert orphan.wait(5) is not None
        assert again.port == server.port
    finally:
        again.stop()


def test_a_corrupt_file_is_one_clear_line(server: EmbeddedRedis, home: Path) -> None:
    redis.Redis.from_url(server.url).set("kept", "42")
    server.stop()
    (server.data / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\nnonsense" * 50)
    with pytest.raises(EmbeddedServerError) as error:
        make(home).start()
    assert "\n" not in str(error.value)
    assert "redis.log" in str(error.value)
    assert "move it away" in str(error.value)
    assert wait_until_none(home, 3) == []


def test_a_home_is_used_by_one_at_a_time(server: EmbeddedRedis, home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="already in use"):
        make(home).start()
    assert redis.Redis.from_url(server.url).ping()


def test_an_odd_path(home: Path) -> None:
    odd_home = home / """it's a "place", or ü \\ n"""
    odd_home.mkdir(mode=0o711)
    server = make(odd_home)
    server.start()
    redis.Redis.from_url(server.url).set("kept", "42")
    server.stop()
    assert (server.data / "appendonly.aof").stat().st_size > 0
