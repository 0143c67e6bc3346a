"""Settings in a process of their own: what is missing or wrong is said in one line, secrets come from files."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from controlplane import checks
from tenants.models import Cluster
from tenants.secrets import encrypt
from tests.docker.files import PROJECT

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
PASSWORD = "never-to-be-shown"
GOOD = {
    "SECRET_KEY": secrets.token_urlsafe(48),
    "FIELD_ENCRYPTION_KEYS": KEY,
    "DATABASE_URL": f"postgres://controlplane:{PASSWORD}@postgres:5432/controlplane",
    "REDIS_URL": f"redis://:{PASSWORD}@redis:6379/0",
    "PUBLIC_URL": "https://cp.example.com",
    "ALLOWED_HOSTS": "cp.example.com",
    "BEHIND_PROXY": "true",
    "AUDIT_SIGNING_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AUDIT_CHECKPOINT_URLS": "file:///var/lib/checkpoints.jsonl",
}


def manage(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """`manage.py` with nothing but the given settings in its environment."""
    environment = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert PASSWORD not in lines[0]
    return lines[0]


def test_a_deployment_is_clean() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "no issues" in result.stdout


@pytest.mark.parametrize("name", ["SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    assert f"Set {name} or {name}_FILE" in one_line(manage("check", **{name: value}))


@pytest.mark.parametrize("command", ["migrate_schemas", "bootstrap"])
def test_every_command_says_so(command: str) -> None:
    assert "Set SECRET_KEY or SECRET_KEY_FILE" in one_line(manage(command, SECRET_KEY=None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "maybe"),
        ("BEHIND_PROXY", "yess"),
        ("CONN_MAX_AGE", "long"),
        ("OPERATION_LEASE_SECONDS", "a while"),
        ("PUBLIC_DATABASE_PORT", "six"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", f"postgres://u:{PASSWORD}@h:port/d"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named(name: str, value: str) -> None:
    assert name in one_line(manage("check", **{name: value}))


@pytest.mark.parametrize(
    ("identity", "name", "value"),
    [
        ("E001", "FIELD_ENCRYPTION_KEYS", [KEY, PASSWORD]),
        ("E001", "FIELD_ENCRYPTION_KEYS", []),
        ("E002", "SECRET_KEY", "short"),
        ("E002", "SECRET_KEY", "a" * 60),
        ("E002", "SECRET_KEY", "changeme-changeme-changeme-changeme-0123456789"),
        ("E002", "SECRET_KEY_FALLBACKS", ["short"]),
        ("E003", "DATABASE_URL", f"mysql://u:{PASSWORD}@h/d"),
        ("E003", "DATABASE_URL", PASSWORD),
        ("E003", "DATABASE_URL", "postgres:///d"),
        ("E003", "DATABASE_URL", f"postgres://u:{PASSWORD}@h"),
        ("E004", "REDIS_URL", f"http://:{PASSWORD}@redis"),
        ("E004", "REDIS_URL", "redis://"),
        ("E005", "PUBLIC_URL", "https://cp.example.com/"),
        ("E005", "PUBLIC_URL", "cp.example.com"),
        ("E006", "AUDIT_SIGNING_KEY", PASSWORD),
        ("E006", "AUDIT_CHECKPOINT_URLS", [f"ftp://u:{PASSWORD}@h/d"]),
        ("E007", "BACKUP_ENCRYPTION_KEYS", [PASSWORD]),
        ("W001", "ALLOWED_HOSTS", ["other.example.com"]),
    ],
)
def test_what_makes_no_sense_has_an_id(identity: str, name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_settings() == []
    monkeypatch.setenv("DATABASE_URL", value if name == "DATABASE_URL" else GOOD["DATABASE_URL"])
    with override_settings(**{name: value}):
        found = checks.check_settings()
    assert {message.id for message in found} == {f"controlplane.{identity}"}
    assert all(name in message.msg for message in found)
    assert all(PASSWORD not in f"{message.msg} {message.hint}" for message in found)


def test_a_wrong_setting_stops_commands_without_a_traceback() -> None:
    result = manage("check", FIELD_ENCRYPTION_KEYS=f"{KEY},{PASSWORD}")
    assert result.returncode == 1
    assert "(controlplane.E001) FIELD_ENCRYPTION_KEYS: key 2 of 2 is no Fernet key" in result.stderr
    assert PASSWORD not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_proxy_must_be_named_for_https() -> None:
    with override_settings(SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=None):
        assert [message.id for message in checks.check_deployment()] == ["controlplane.W002"]
    with override_settings(SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert checks.check_deployment() == []


def test_an_audit_log_that_nobody_outside_vouches_for_is_said() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING", AUDIT_CHECKPOINT_URLS=None)
    assert result.returncode == 1
    assert "controlplane.W003" in result.stderr


def test_where_tenants_of_the_first_cluster_connect(cluster: Cluster) -> None:
    own = cluster.dsn()
    assert cluster.public_address() == (own.host, own.port)
    with override_settings(PUBLIC_DATABASE_HOST="pooler.example.com", PUBLIC_DATABASE_PORT=6432):
        assert cluster.public_address() == ("pooler.example.com", 6432)
        other = Cluster(host="db.example.com", port=5433, dbname="d", username="u", secret=encrypt("p"))
        assert other.public_address() == ("db.example.com", 5433)


SECRETS = ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "SECRET_KEY_FALLBACKS")
SHOW = (
    "from django.conf import settings as s; d = s.DATABASES['default']; "
    "print(s.SECRET_KEY, *s.FIELD_ENCRYPTION_KEYS, d['PASSWORD'], s.REDIS_URL, *s.SECRET_KEY_FALLBACKS, sep='\\n')"
)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    fallback = secrets.token_urlsafe(48)
    values = {**GOOD, "SECRET_KEY_FALLBACKS": fallback}
    changes: dict[str, str | None] = {}
    for name in SECRETS:
        (tmp_path / name).write_text(values[name] + "\n", encoding="utf-8")
        changes |= {name: None, f"{name}_FILE": str(tmp_path / name)}
    result = manage("shell", "--no-imports", "--command", SHOW, **changes)
    assert result.returncode == 0, result.stderr
    expected = [GOOD["SECRET_KEY"], KEY, PASSWORD, GOOD["REDIS_URL"], fallback]
    assert result.stdout.split() == expected


def test_a_file_comes_before_the_variable(tmp_path: Path) -> None:
    other = secrets.token_urlsafe(48)
    (tmp_path / "key").write_text(other, encoding="utf-8")
    result = manage("shell", "--no-imports", "--command", SHOW, SECRET_KEY_FILE=str(tmp_path / "key"))
    assert result.stdout.split()[0] == other


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x00"])
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "redis_url"
    if content is not None:
        path.write_bytes(content)
    line = one_line(manage("check", REDIS_URL=None, REDIS_URL_FILE=str(path)))
    assert "REDIS_URL_FILE" in line
    assert str(path) in line
