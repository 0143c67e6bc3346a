"""One cluster behind a PgBouncer for each version of PostgreSQL and module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pooling.support import Front, front


@pytest.fixture(scope="module", params=["18", "15"], name="front")
def either_front(request: pytest.FixtureRequest, template: Any) -> Iterator[Front]:
    """On both versions."""
    with front(request.param, template) as made:
        yield made


@pytest.fixture(scope="module", name="front18")
def front_of_18(template: Any) -> Iterator[Front]:
    """On one, where the server's version makes no difference."""
    with front("18", template) as made:
        yield made
