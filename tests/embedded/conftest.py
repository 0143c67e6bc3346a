"""Homes for real servers, empty of processes afterwards."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.homes import new_home, remove_home

SERVER_VARIABLES = ("DATABASE_URL", "SUPERUSER_DATABASE_URL", "REDIS_URL", "POSTGRES15_URL", "POSTGRES15_SUPERUSER_URL")


@pytest.fixture
def home() -> Iterator[Path]:
    path = new_home()
    yield path
    remove_home(path)


@pytest.fixture(scope="module")
def module_home() -> Iterator[Path]:
    path = new_home()
    yield path
    remove_home(path)


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a machine where nobody has named any server."""
    return {name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES}
