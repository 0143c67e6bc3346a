"""The environment of one test process, settled before Django's settings are read (`-p` in pyproject.toml loads it).

Every xdist worker gets a control plane of its own: a database, a Redis number and a Celery queue. Processes that
tests start (gunicorn, Celery workers, commands) inherit all of it.
"""

from __future__ import annotations

import base64
import os
import secrets
from urllib.parse import urlsplit, urlunsplit

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
# The controller sets it and its workers inherit it: what they make bears this name and is found at the end.
RUN = os.environ.setdefault("CP_TEST_RUN", secrets.token_hex(4))
PREFIX = f"cp_test_{RUN}"
TEMPLATE = f"{PREFIX}_template"
DATABASE = f"{PREFIX}_{WORKER or 'only'}"
REDIS_NUMBERS = 16


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def _redis_number() -> int:
    """0 is left to the controller and to whoever shares the server."""
    return 1 + int(WORKER.removeprefix("gw") or 0) % (REDIS_NUMBERS - 1)


def _settle() -> None:
    os.environ.setdefault("SECRET_KEY", "a key for tests only, of no use anywhere else, long enough to be accepted")
    os.environ.setdefault("FIELD_ENCRYPTION_KEYS", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    os.environ.setdefault("BACKUP_ENCRYPTION_KEYS", "tests:" + base64.b64encode(secrets.token_bytes(32)).decode())
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    os.environ["PUBLIC_URL"] = "http://testserver"
    os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
    os.environ["API_ANONYMOUS_RATE"] = "100000/min"  # all tests call from one address
    os.environ["CELERY_QUEUE"] = DATABASE
    if "DATABASE_URL" in os.environ:
        os.environ.setdefault("CP_TEST_MAINTENANCE_URL", os.environ["DATABASE_URL"])
        os.environ["DATABASE_URL"] = _with_path(os.environ["CP_TEST_MAINTENANCE_URL"], DATABASE)
    if "REDIS_URL" in os.environ:
        os.environ["REDIS_URL"] = _with_path(os.environ["REDIS_URL"], str(_redis_number()))


def missing() -> list[str]:
    """What has to be in the environment and is not."""
    return [name for name in ("DATABASE_URL", "REDIS_URL") if name not in os.environ]


_settle()
# Without servers nothing runs, but `--help` and `--collect-only` shall.
for _name in missing():
    os.environ[_name] = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}[
        _name
    ]
    os.environ[f"CP_TEST_NO_{_name}"] = "1"
