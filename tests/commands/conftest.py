"""Tenants and templates that the tests of commands begin with."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.imports import import_template
from tenants.schemas.compiler import SqlDirectory
from tests.commands.support import call
from tests.provisioning.support import warm
from tests.support.fixtures import ACTOR, SOURCE, TINY, fresh_slug


@pytest.fixture(scope="session")
def cold_template(cluster: Any, plan: Any, template: Any) -> Any:
    """A template for which no slot ever waits. (`template` comes first: it is the default one.)"""
    return import_template(
        name=fresh_slug("cold"), origin=SqlDirectory(TINY), cluster=cluster, actor=ACTOR, source=SOURCE
    )[0]


@pytest.fixture
def shop(template: Any, cluster: Any) -> dict[str, Any]:
    """A new active tenant, with its connection, made by the command."""
    warm(cluster, template)
    made = call("create_tenant", fresh_slug("shop"), "--template", template.template.name)
    assert made["state"] == "active"
    return made


@pytest.fixture
def other_template(cluster: Any, plan: Any, template: Any) -> Any:
    """A template of this test's own."""
    return import_template(
        name=fresh_slug("own"), origin=SqlDirectory(TINY), cluster=cluster, actor=ACTOR, source=SOURCE
    )[0]
