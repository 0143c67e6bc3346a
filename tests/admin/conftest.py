"""People of each group, and a tenant to act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.admin.browser import chromium, visit  # noqa: F401
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


@pytest.fixture(scope="session")
def groups(_database_for_all: None) -> Any:
    """The four groups with their permissions."""
    from tenants.groups import ensure_groups

    return ensure_groups()


@pytest.fixture
def person(groups: Any) -> Callable[..., Any]:
    """`person("viewer")`: a new member of staff in that group (none: in no group).

    Without a password, unless one is given: hashing takes a second.
    """
    from django.contrib.auth import get_user_model

    def make(group: str = "", **fields: Any) -> Any:
        fields.setdefault("is_staff", True)
        user = get_user_model().objects.create_user(username=fresh_slug(group or "nobody"), **fields)
        if group:
            user.groups.add(groups[group])
        return user

    return make


@pytest.fixture
def browse(person: Callable[..., Any]) -> Callable[..., Any]:
    """`browse("viewer")`: Django's test client, signed in as a new person of that group, who is at `.person`."""
    from django.test import Client

    from tenants.recent import note_confirmed

    def make(group: str = "", **fields: Any) -> Any:
        client = Client(raise_request_exception=True)
        client.person = person(group, **fields)
        client.force_login(client.person)
        session = client.session
        note_confirmed(session)  # as signing in by the form does
        session.save()
        return client

    return make


@pytest.fixture
def make_tenant(cluster: Any, template: Any, plan: Any) -> Callable[..., Any]:
    """`make_tenant()`: an active tenant, made through the service, with its connection at `.connection`."""
    from provisioning import pool, services

    def make(**options: Any) -> Any:
        slug = options.pop("slug", None) or fresh_slug("shop")
        pool.fill_one(cluster, template, 10_000)
        made = services.provision_tenant(
            name=options.pop("name", slug.title()), slug=slug, actor=ACTOR, source=SOURCE, **options
        )
        assert made.connection is not None
        made.tenant.refresh_from_db()
        made.tenant.connection = made.connection
        return made.tenant

    return make


@pytest.fixture
def tenant(make_tenant: Callable[..., Any]) -> Any:
    """An active tenant."""
    return make_tenant()
