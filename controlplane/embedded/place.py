"""`.local/`: what `make run` keeps on this machine, and the environment its processes get."""

import os
from collections.abc import Mapping
from pathlib import Path

from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.files import kept_secret, write_private
from controlplane.embedded.keys import is_given, new_keys
from controlplane.embedded.leftovers import MARK

README = """What `make run` keeps: data of PostgreSQL and Redis, keys (secrets.env), credentials, logs,
the key that signs the audit log and what it has signed (audit).
backup.key opens the backups: keep a copy of it elsewhere, without it no backup can be read.
secrets.env opens the stored passwords of tenants: without it they cannot be read again.
`make clean-data` removes all of it.
"""


class Place:
    """The directory of one run; every secret in it is a 0600 file."""

    def __init__(self, directory: Path) -> None:
        """Create it when missing: 0700, or 0711 for root, whose servers run as somebody else."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.directory.chmod(0o711 if os.getuid() == 0 else 0o700)
        for name in ("log", "run"):
            (self.directory / name).mkdir(exist_ok=True)
            (self.directory / name).chmod(0o700)
        (self.directory / "README").write_text(README, encoding="utf-8")

    @property
    def credentials(self) -> Path:
        """What was printed at the first run."""
        return self.directory / "credentials"

    def keep_credentials(self, new: Mapping[str, str]) -> None:
        """Write what was just made to `credentials`, beside what is there."""
        old = self.credentials.read_text(encoding="utf-8") if self.credentials.exists() else ""
        kept = dict(line.split("=", 1) for line in old.splitlines() if "=" in line)
        write_private(self.credentials, "".join(f"{name}={value}\n" for name, value in {**kept, **new}.items()))

    def log(self, name: str) -> Path:
        """The log of the process called `name`."""
        return self.directory / "log" / f"{name}.log"

    def keys(self) -> dict[str, str]:
        """SECRET_KEY and FIELD_ENCRYPTION_KEYS: kept from the first run on, unless the environment sets them."""
        wanted = {name for name in new_keys() if not is_given(name, dict(os.environ))}
        path = self.directory / "secrets.env"
        if not wanted:
            return {}
        if not path.exists():
            if (self.directory / "postgres" / "data").exists() and self.credentials.exists():
                message = f"{path} is missing, but the data was encrypted with it: restore it or make clean-data."
                raise EmbeddedServerError(message)
            write_private(path, "".join(f"{name}={value}\n" for name, value in new_keys().items()))
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = dict(line.split("=", 1) for line in lines if "=" in line)
        if missing := sorted(wanted - {name for name, value in kept.items() if value}):
            raise EmbeddedServerError(f"{path} has no {missing[0]}: restore the file or make clean-data.")
        return {name: kept[name] for name in wanted}

    def _audit(self) -> dict[str, str]:
        """The key that signs the audit log's checkpoints, and the file beside the database that has them."""
        directory, env = self.directory / "audit", {}
        directory.mkdir(mode=0o700, exist_ok=True)
        if not is_given("AUDIT_SIGNING_KEY", dict(os.environ)):
            kept_secret(directory / "signing.key")  # 256 random bits in base64: any such is an Ed25519 key
            env["AUDIT_SIGNING_KEY_FILE"] = str(directory / "signing.key")
        if not is_given("AUDIT_CHECKPOINT_URLS", dict(os.environ)):
            env["AUDIT_CHECKPOINT_URLS"] = (directory / "checkpoints.jsonl").as_uri()
        return env

    def _backups(self) -> dict[str, str]:
        """The key that encrypts backups."""
        if is_given("BACKUP_ENCRYPTION_KEYS", dict(os.environ)):
            return {}
        path = self.directory / "backup.key"
        kept_secret(path)  # 256 random bits in base64
        return {"BACKUP_ENCRYPTION_KEYS_FILE": str(path)}

    def environment(self, servers: Mapping[str, str], *, port: int) -> dict[str, str]:
        """The environment of web, worker, beat and commands; `servers` are the URLs of what we started."""
        metrics = self.directory / "run" / "metrics"
        metrics.mkdir(exist_ok=True)
        for old in metrics.iterdir():  # of processes that are no more
            old.unlink()
        given = os.environ
        return {
            **given,
            **self.keys(),
            **self._audit(),
            **self._backups(),
            **servers,
            MARK: str(self.directory),
            "BACKUP_DIRECTORY": given.get("BACKUP_DIRECTORY", str(self.directory / "backups")),
            "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "controlplane.settings",
            "ALLOWED_HOSTS": given.get("ALLOWED_HOSTS", "127.0.0.1,localhost"),
            "PUBLIC_URL": given.get("PUBLIC_URL", f"http://127.0.0.1:{port}"),
            "STATIC_ROOT": given.get("STATIC_ROOT", str(self.directory / "static")),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONUNBUFFERED": "1",
        }
