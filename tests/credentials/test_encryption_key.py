"""A new encryption key reaches all that is stored encrypted, whatever happens in between."""

from __future__ import annotations

import os
import re
import secrets as random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings as configured
from django.db import models

from tenants import reencryption, secrets
from tenants.exceptions import SecretUnreadable
from tenants.models import AuditEvent, IdempotencyRecord
from tenants.models.fields import EncryptedField
from tests.commands.support import call, refusal, text
from tests.pooling.support import WHO
from tests.provisioning.support import provision
from tests.support.databases import PROJECT

OLD = list(configured.FIELD_ENCRYPTION_KEYS)


@pytest.fixture
def newest(settings: Any) -> Iterator[str]:
    """A new key in front of the old one; afterwards everything is under the old one again."""
    key = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [key, *OLD]
    yield key
    settings.FIELD_ENCRYPTION_KEYS = [*OLD, key]
    assert reencryption.removable_keys(reencryption.rotate_encryption_key(**WHO)) == [secrets.key_name(key)]


def kept_answers(count: int) -> list[int]:
    """Rows that hold something encrypted."""
    made = IdempotencyRecord.objects.bulk_create(
        IdempotencyRecord(caller="tests", key=random.token_hex(8), request_digest="x", response=secrets.encrypt(f"{n}"))
        for n in range(count)
    )
    return [row.pk for row in made]


def of(found: list[reencryption.Column], label: str) -> reencryption.Column:
    return next(column for column in found if column.label == label)


def test_all_of_it_is_under_the_new_key_and_still_says_the_same(template: Any, settings: Any, newest: str) -> None:
    settings.FIELD_ENCRYPTION_KEYS = OLD
    made, answers = provision(template), kept_answers(3)
    settings.FIELD_ENCRYPTION_KEYS = [newest, *OLD]
    looked = call("rotate_encryption_key", "--dry-run")
    assert (looked["rewritten"], looked["removable_keys"]) == (0, [])
    assert sum(column["outdated"] for column in looked["columns"]) >= 4
    done = call("rotate_encryption_key")
    assert done["rewritten"] >= 4
    assert done["removable_keys"] == [secrets.key_name(OLD[0])]
    assert not any(column["outdated"] or column["unreadable"] for column in done["columns"])
    settings.FIELD_ENCRYPTION_KEYS = [newest]  # the old one is gone
    assert made.tenant.roles.get(name=made.connection.user).password() == made.connection.password
    rows = IdempotencyRecord.objects.filter(pk__in=answers).order_by("pk")
    assert [secrets.decrypt(row.response) for row in rows] == ["0", "1", "2"]
    assert call("rotate_encryption_key")["rewritten"] == 0
    assert "No key can be taken away now." in text("rotate_encryption_key")
    event = AuditEvent.objects.filter(action="encryption_key.rotate").first()
    assert event.after["key"] == secrets.key_name(newest)
    assert newest not in str(list(AuditEvent.objects.filter(action="encryption_key.rotate").values()))


def test_after_a_kill_it_goes_on_where_it_was(newest: str, settings: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = OLD
    answers = kept_answers(3000)
    settings.FIELD_ENCRYPTION_KEYS = [newest, *OLD]
    first = IdempotencyRecord.objects.filter(pk__in=answers)

    def outdated() -> int:
        tokens = first.values_list("response", flat=True)
        return sum(secrets.key_number(token) for token in tokens)

    command = [sys.executable, "manage.py", "rotate_encryption_key", "--batch", "20"]
    environment = {**os.environ, "FIELD_ENCRYPTION_KEYS": f"{newest},{OLD[0]}"}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while outdated() == 3000 and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    left = outdated()
    assert 0 < left < 3000
    waiting = sum(column.outdated for column in reencryption.survey())
    again = call("rotate_encryption_key")
    assert left <= again["rewritten"] == waiting  # and not what had been done before
    assert outdated() == 0
    first.delete()


def test_what_nobody_can_read_is_named_and_no_key_may_go(newest: str) -> None:
    (pk,) = kept_answers(1)
    row = IdempotencyRecord.objects.filter(pk=pk)
    row.update(response=Fernet(Fernet.generate_key()).encrypt(b"lost").decode())
    try:
        with pytest.raises(SecretUnreadable):
            secrets.key_number(row.get().response)
        code, error = refusal("rotate_encryption_key")
        assert (error.code, code != 0) == ("secret_unreadable", True)
        found = reencryption.survey()
        assert of(found, "tenants.IdempotencyRecord.response").unreadable == [str(pk)]
        assert reencryption.removable_keys(found) == []
    finally:
        row.delete()


def test_a_text_that_changes_meanwhile_is_not_overwritten(newest: str) -> None:
    (pk,) = kept_answers(1)
    stale = Fernet(OLD[0].encode()).encrypt(b"before").decode()
    column = next(c for c in reencryption.columns() if c.label == "tenants.IdempotencyRecord.response")
    assert reencryption._rewrite(column, {pk: stale}, **WHO) == 0
    assert secrets.decrypt(IdempotencyRecord.objects.get(pk=pk).response) == "0"


# What sounds like a secret and is none, or is stored as a hash.
NO_CIPHERTEXT = {
    "auth.User.password",
    "sessions.Session.session_key",
    "door.SessionRecord.session_key",
    "django_celery_beat.PeriodicTask.routing_key",
}


def test_every_column_that_sounds_like_a_secret_is_found() -> None:
    known = {column.label for column in reencryption.columns()}
    assert {"tenants.TenantRole.secret", "tenants.Cluster.secret", "tenants.IdempotencyRecord.response"} <= known
    suspicious = {
        f"{model._meta.label}.{column.name}"
        for model in apps.get_models()
        for column in model._meta.local_fields
        if isinstance(column, models.TextField | models.CharField)
        and re.search(r"secret|passw|token|cipher|credential|private|_key$", column.name)
    }
    assert suspicious - known <= NO_CIPHERTEXT


def test_nothing_encrypted_lies_in_another_column(template: Any) -> None:
    """Whatever the tests of this process have left: a Fernet token begins with its version."""
    provision(template)
    hidden = {
        f"{model._meta.label}.{column.name}"
        for model in apps.get_models()
        if model._meta.managed
        for column in model._meta.local_fields
        if isinstance(column, models.TextField | models.CharField)
        and not isinstance(column, EncryptedField)
        and model._base_manager.filter(**{f"{column.name}__contains": "gAAAAA"}).exists()
    }
    assert hidden == set()
