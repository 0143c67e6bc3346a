"""What all tests share. Everything is real: PostgreSQL, Redis, workers, gunicorn.

Nothing is rolled back or flushed between tests (the audit log refuses both), so tests use fresh names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import databases, environment

# Each takes one to four minutes; a file's tests all go to one process.
LONG = (
    "isolation/test_attack.py", "compiler/test_exact_clones.py", "bench/test_bench.py", "embedded/test_make_run.py",
    "rest/test_server.py", "docker/test_stack.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    gone = [name for name in ("DATABASE_URL", "REDIS_URL") if f"CP_TEST_NO_{name}" in environment.os.environ]
    if gone and not (config.option.collectonly or config.option.help):
        raise pytest.UsageError(
            f"{' and '.join(gone)} must be set: use `make test`, "
            "or `python -m controlplane.embedded exec --with-postgres15 -- python -m pytest …`."
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: whoever takes one of them last would leave the others with nothing to do."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller, or the only process, takes away what workers left."""
    if not environment.WORKER and "CP_TEST_MAINTENANCE_URL" in environment.os.environ:
        databases.drop_all()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """This process's own control plane, empty but migrated."""
    from django.core.cache import cache
    from django.db import connections

    from tenants.postgres import close_pools

    databases.create_database()
    cache.clear()
    yield
    with django_db_blocker.unblock():
        connections.close_all()
    close_pools()
    cache.clear()
    databases.drop_database()


@pytest.fixture(scope="session", autouse=True)
def _database_for_all(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True)
def _close_connections_in_autocommit() -> Iterator[None]:
    """A test that leaves a transaction open would hide what others committed."""
    yield
    from django.db import connection

    if connection.in_atomic_block:
        connection.close()


@pytest.fixture
def actor() -> Any:
    """Somebody to act."""
    from tenants.actors import Actor

    return Actor(kind="command", id="", label="tests")


@pytest.fixture
def source() -> Any:
    """Somewhere to act from."""
    from tenants.actors import Source

    return Source(channel="command", request_id="tests")


@pytest.fixture(scope="session")
def cluster(_database_for_all: None) -> Any:
    """The default cluster: the control plane's own database."""
    from tenants import clusters
    from tenants.actors import Actor, Source

    return clusters.ensure_default_cluster(
        actor=Actor("command", "", "tests"), source=Source("command"), pool_target=0, max_parallel=4
    )


@pytest.fixture(scope="session")
def plan(_database_for_all: None) -> Any:
    """The default plan."""
    from tests.support.fixtures import default_plan

    return default_plan()


@pytest.fixture(scope="session")
def template(cluster: Any, plan: Any) -> Any:
    """The latest version of a tiny default template (see support/tiny/)."""
    from tests.support.fixtures import tiny_template

    return tiny_template(cluster)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """A name nobody else uses: `fresh("shop")` → `shop-1f3c9a…`."""
    from tests.support.fixtures import fresh_slug

    return fresh_slug


@pytest.fixture
def api_client(_database_for_all: None) -> Callable[..., Any]:
    """`api_client("tenants:read", …)`: an HTTP client with a new API key of these scopes (none given: all)."""
    from tests.support.api import ApiClient

    return ApiClient.with_scopes


@pytest.fixture
def celery_worker_process(_database_for_all: None) -> Iterator[Any]:
    """A real Celery worker on this process's queue, which is empty at first: other tests send and have nobody work."""
    from controlplane.celery import app
    from tests.support.processes import celery_worker

    app.control.purge()
    with celery_worker() as process:
        yield process


@pytest.fixture(scope="module")
def server(_database_for_all: None) -> Iterator[Any]:
    """A real gunicorn on a free port; `.url` is its address."""
    from tests.support.processes import gunicorn

    with gunicorn() as running:
        yield running
