"""API keys by command."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tenants import api_keys
from tenants.models import ApiKey, AuditEvent
from tenants.models.access import Scope
from tests.commands.support import call, manage, refusal, text
from tests.support.fixtures import fresh_slug


def test_create_api_key_and_revoke_api_key() -> None:
    name = fresh_slug("key")
    made = call("create_api_key", name, "--scope", "tenants:read", "--scope", "audit:read", "--expires", "30d")
    found = api_keys.find_api_key(made["key"])
    assert found is not None
    assert (found.name, found.scopes) == (name, ["audit:read", "tenants:read"])
    assert abs(found.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=5)
    assert "revoked" in text("revoke_api_key", name, "--reason", "replaced")
    assert api_keys.find_api_key(made["key"]) is None
    assert refusal("revoke_api_key", made["prefix"])[0] == 3
    actions = list(AuditEvent.objects.filter(target_type="apikey", target_id=found.pk).values_list("action", "reason"))
    assert sorted(actions) == [("api_key.create", ""), ("api_key.revoke", "replaced")]


def test_the_key_alone_for_scripts_and_nowhere_else() -> None:
    ran = manage("create_api_key", fresh_slug("key"), "--all-scopes", "--show-key-only", LOG_LEVEL="DEBUG")
    assert (ran.code, ran.err) == (0, "")
    found = api_keys.find_api_key(ran.out.strip())
    assert found is not None
    assert sorted(found.scopes) == sorted(Scope.values)
    assert found.expires_at is None
    assert not AuditEvent.objects.filter(after__icontains=ran.out.strip()[14:]).exists()


def test_a_name_that_two_keys_have_is_no_name() -> None:
    name = fresh_slug("key")
    first, second = (call("create_api_key", name, "--scope", "tenants:read") for _ in range(2))
    code, error = refusal("revoke_api_key", name)
    assert (code, error.code) == (3, "ambiguous")
    assert first["prefix"] in str(error.hint)
    call("revoke_api_key", first["key"])
    call("revoke_api_key", name)
    assert ApiKey.objects.filter(name=name, revoked_at=None).count() == 0
    assert second["key"] not in str(refusal("revoke_api_key", second["key"])[1])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["k", "--scope", "everything"], 2),
        (["", "--scope", "tenants:read"], 2),
        (["k", "--scope", "tenants:read", "--expires", "2001-01-01"], 2),
    ],
)
def test_create_api_key_refuses(arguments: list[str], code: int) -> None:
    assert refusal("create_api_key", *arguments)[0] == code


def test_revoke_api_key_does_not_repeat_what_may_be_a_key() -> None:
    code, error = refusal("revoke_api_key", "cp_0000000000_topsecret")
    assert code == 4
    assert "topsecret" not in str(error)
