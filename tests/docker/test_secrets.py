"""make-secrets.sh: random, kept, closed to others, and of the shapes the programs read."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import environ
from cryptography.fernet import Fernet

from tests.docker.files import DOCKER, PROJECT

SCRIPT = DOCKER / "make-secrets.sh"


def make(directory: Path) -> dict[str, str]:
    subprocess.run([SCRIPT, directory], check=True, capture_output=True)
    return {path.name: path.read_text(encoding="utf-8").strip() for path in directory.iterdir()}


def test_shapes(tmp_path: Path) -> None:
    made = make(tmp_path / "secrets")
    Fernet(made["field_encryption_keys"])
    assert len(made["secret_key"]) >= 50
    url = environ.Env.db_url_config(made["database_url"])
    assert (url["USER"], url["HOST"], url["PORT"], url["NAME"]) == ("controlplane", "postgres", 5432, "controlplane")
    assert url["PASSWORD"] == made["controlplane_password"]
    assert made["redis_url"] == f"redis://:{made['redis_password']}@redis:6379/0"
    assert made["redis_auth"] == f"requirepass {made['redis_password']}"
    assert made["pgbouncer_userlist"] == f'"cp_pooler" "{made["pgbouncer_password"]}"'
    assert made["pooler_url"] == f"postgres://cp_pooler:{made['pgbouncer_password']}@pgbouncer:6432/pgbouncer"
    passwords = {value for name, value in made.items() if name.endswith("_password")}
    assert len(passwords) == 5
    assert min(map(len, passwords)) >= 40


def test_random_and_kept(tmp_path: Path) -> None:
    first = make(tmp_path / "one")
    assert make(tmp_path / "one") == first
    second = make(tmp_path / "two")
    assert not {name for name in first if name != "README" and first[name] == second[name]}


def test_nobody_else_gets_in(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    # Containers run as accounts this host does not know; the directory is what protects the files here.
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o444}


def test_a_lost_file_is_made_again_alone(tmp_path: Path) -> None:
    first = make(tmp_path)
    (tmp_path / "redis_url").unlink()
    assert make(tmp_path) == first


def test_never_committed() -> None:
    paths = ["docker/secrets/database_url", "docker/secrets/README", "docker/.env"]
    ignored = subprocess.run(["git", "check-ignore", *paths], cwd=PROJECT, capture_output=True, text=True)
    assert ignored.stdout.split() == paths
    listed = subprocess.run(["git", "ls-files", "docker"], cwd=PROJECT, capture_output=True, text=True, check=True)
    names = listed.stdout.split()
    assert "docker/compose.yaml" in names
    assert not [name for name in names if name == "docker/.env" or name.startswith("docker/secrets/")]
