"""A real PgBouncer in front of a stage, in transaction mode: the other way by which tenants come."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from controlplane.embedded import ports
from controlplane.embedded.account import service_account
from tests.isolation.attack.stage import Stage

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = """
[databases]
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {userlist}
auth_query = SELECT usename, passwd FROM cp.pooler_lookup($1)
pool_mode = transaction
max_client_conn = 200
default_pool_size = 5
ignore_startup_parameters = extra_float_digits,options
"""


@contextmanager
def pooled(stage: Stage) -> Iterator[str]:
    """The attacker's connection string through a pooler; the pooler ends with the block."""
    with tempfile.TemporaryDirectory(prefix="cp-pooled-") as place:
        listen = ports.pick()
        process = _start(stage, Path(place), listen)
        try:
            url = urlsplit(stage.attacker_dsn)
            pooled_url = urlunsplit(url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{listen}"))
            _wait(pooled_url, process)
            yield pooled_url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def _start(stage: Stage, place: Path, listen: int) -> subprocess.Popen[bytes]:
    logins = [cluster.dsn("pooler") for cluster in (stage.cluster, stage.other)]
    (place / "userlist.txt").write_text("".join(f'"{login.user}" "{login.password}"\n' for login in logins))
    lines = [
        f"{login.dbname} = host={login.host} port={login.port} dbname={login.dbname} auth_user={login.user}"
        for login in logins
    ]
    config = CONFIG.format(databases="\n".join(lines), listen=listen, userlist=place / "userlist.txt")
    (place / "pgbouncer.ini").write_text(config)
    account = service_account()
    for file in (place, *place.iterdir()):
        if account.switch:
            os.chown(file, *account.owner)
    argv = account.command([str(PROGRAM), "-q", str(place / "pgbouncer.ini")], death_signal="TERM")
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer has ended"
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
