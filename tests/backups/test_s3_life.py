"""A tenant's backups in a bucket: taken, locked, kept by the lock when the policy lets them go, and gone after it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backups.models import Backup, BackupCopy, Storage
from backups.services import removal, storages, take
from backups.storage.base import StorageError
from backups.storage.opening import open_storage
from tenants import operations
from tenants.exceptions import InvalidInput
from tenants.models import AuditEvent, Operation
from tests.audit.servers import s3_server
from tests.backups.s3 import KEYS, make_bucket, proxy_to
from tests.backups.support import BY, Home, age, back_up, keys, whole


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


def bucket_at(url: str, **values: Any) -> Storage:
    name = f"bucket-{secrets.token_hex(6)}"
    config = {"bucket": name, "prefix": "cp", "endpoint_url": url, "region": "us-east-1", "addressing_style": "path",
              "access_key_id": KEYS["aws_access_key_id"]}  # fmt: skip
    make_bucket(values.pop("made_at", url), name, lock="lock_mode" in values)
    secret = KEYS["aws_secret_access_key"]
    return storages.create_storage(name=name, kind="s3", config=config, secret=secret, **BY, **values)


def expire(tenant: Any) -> Operation:
    assert removal.expire_tenant(tenant) == 1
    operation = Operation.objects.filter(kind="backup.expire", tenant=tenant).latest("created_at")
    operations.work(operation.pk)
    operation.refresh_from_db()
    return operation


def test_a_locked_backup_stays_until_its_lock_ends(server: str, home: Home) -> None:
    bucket = bucket_at(server, lock_mode="compliance", lock_days=30)
    mine = home.tenant(3, bucket, keep_last=1, keep_daily=0, min_age_days=0)
    old, new = back_up(mine), back_up(mine)
    copy = old.copies.get()
    assert copy.locked_until > timezone.now() + timedelta(days=29)
    age(old, days=3)
    assert expire(mine).state == "succeeded"
    old.refresh_from_db()
    copy.refresh_from_db()
    assert (old.state, copy.state) == ("expiring", "deleting")
    assert whole(bucket) == {f"{mine.pk}/{old.pk}", f"{mine.pk}/{new.pk}"}
    assert copy.locked_until > timezone.now() + timedelta(days=29)
    assert removal.reap() >= 0
    assert len(whole(bucket)) == 2


def test_without_a_lock_it_goes_at_once(server: str, home: Home) -> None:
    bucket = bucket_at(server)
    mine = home.tenant(3, bucket, keep_last=1, keep_daily=0, min_age_days=0)
    old, new = back_up(mine), back_up(mine)
    age(old, days=3)
    expire(mine)
    assert set(Backup.objects.filter(origin_id=mine.pk).values_list("pk", "state")) == {
        (old.pk, "expired"),
        (new.pk, "succeeded"),
    }
    assert {key.rpartition("/")[0] for key in keys(bucket)} == {f"{mine.pk}/{new.pk}"}


def test_a_server_out_of_order_fails_nothing_for_good(server: str, home: Home) -> None:
    """Half of all requests fail: the backup is taken all the same. All fail: it waits to be tried again."""
    with proxy_to(server) as way:
        bucket = bucket_at(way.url, made_at=server)
        mine = home.tenant(3, bucket)
        count = iter(range(10_000))
        way.fault = lambda method, path: 503 if next(count) % 2 else None
        assert back_up(mine).state == "succeeded"
        way.fault = lambda method, path: 500
        asked = take.backup_tenant(tenant_id=mine.pk, **BY)
        operations.work(asked.operation.pk)
        asked.operation.refresh_from_db()
        assert (asked.operation.state, asked.operation.error["code"]) == ("running", "storage_error")
        way.fault = lambda method, path: None
        Operation.objects.filter(pk=asked.operation.pk).update(lease_expires_at=timezone.now())
        operations.work(asked.operation.pk)
        asked.operation.refresh_from_db()
        assert asked.operation.state == "succeeded"
    stored = BackupCopy.objects.filter(backup=asked.backup, state="stored").get()
    assert stored.prefix != f"{mine.pk}/{asked.backup.pk}", "another attempt writes under another name"


def test_a_secret_is_stored_encrypted_and_never_told(server: str) -> None:
    bucket = bucket_at(server)
    secret = KEYS["aws_secret_access_key"]
    assert secret not in bucket.secret
    assert secret not in str(list(AuditEvent.objects.filter(target_id=str(bucket.pk)).values()))
    assert secret not in repr(open_storage(bucket))
    with pytest.raises(InvalidInput):
        storages.create_storage(
            name="x", kind="s3", config={"bucket": "b", "endpoint_url": f"https://id:{secret}@s3"}, **BY
        )


def test_a_bucket_that_does_not_lock_is_refused_for_a_lock(server: str) -> None:
    name = f"bucket-{secrets.token_hex(6)}"
    make_bucket(server, name)
    config = {"bucket": name, "endpoint_url": server, "region": "us-east-1", "addressing_style": "path",
              "access_key_id": KEYS["aws_access_key_id"]}  # fmt: skip
    with pytest.raises(StorageError) as refused:
        storages.create_storage(
            name=name, kind="s3", config=config, secret=KEYS["aws_secret_access_key"], lock_mode="governance",
            lock_days=1, **BY,
        )  # fmt: skip
    assert refused.value.code == "lock_unsupported"
    assert not Storage.objects.filter(name=name).exists()
