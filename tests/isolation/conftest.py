"""The report of an attack run is written when all its tests are over."""

from __future__ import annotations

import pytest

from tests.isolation.attack.report import REPORT


def pytest_sessionfinish(session: pytest.Session) -> None:
    REPORT.write()
