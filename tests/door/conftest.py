"""People with passwords, and browsers that sign in by the form."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
from django.test import Client
from django.urls import reverse

from tests.support.fixtures import fresh_slug

PASSWORD = "a password for tests only 17"


@pytest.fixture(scope="session")
def groups(_database_for_all: None) -> Any:
    """The four groups with their permissions."""
    from tenants.groups import ensure_groups

    return ensure_groups()


@pytest.fixture(autouse=True)
def _fast_hashes(settings: Any) -> None:
    """What passwords are hashed with is Django's matter; a second each is not needed here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@dataclass
class Visitor:
    """A browser of one person, at one address."""

    user: Any
    http: Client

    def sign_in(self, password: str = PASSWORD) -> Any:
        """Send the login form."""
        return self.http.post(reverse("admin:login"), {"username": self.user.username, "password": password})

    def send_code(self, code: str) -> Any:
        """Send the second step's form."""
        return self.http.post(reverse("admin:login_code"), {"code": code})

    @property
    def is_in(self) -> bool:
        """Whether the fleet opens."""
        return self.http.get(reverse("admin:index")).status_code == 200

    def enrol(self) -> tuple[pyotp.TOTP, list[str]]:
        """Set an app up through the page; the app and the recovery codes."""
        page = self.http.get(reverse("admin:second_factor"))
        app = pyotp.TOTP(page.context["secret"].replace(" ", ""))
        done = self.http.post(reverse("admin:second_factor"), {"code": app.now()})
        assert done.status_code == 200, done
        return app, done.context["codes"]


def some_ip() -> str:
    """An address from which nothing has come yet."""
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


@pytest.fixture
def visitor(groups: Any) -> Callable[..., Visitor]:
    """`visitor("viewer")`: a new member of staff, or with `user=` another browser of somebody."""

    def make(group: str = "viewer", *, user: Any = None, ip: str = "", **fields: Any) -> Visitor:
        from django.contrib.auth import get_user_model

        if user is None:
            fields.setdefault("is_staff", True)
            user = get_user_model().objects.create_user(fresh_slug(group), password=PASSWORD, **fields)
            user.groups.add(groups[group])
        return Visitor(user, Client(REMOTE_ADDR=ip or some_ip(), HTTP_USER_AGENT="tests"))

    return make
