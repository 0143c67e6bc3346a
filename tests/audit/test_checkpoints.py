"""Checkpoints get out, each to every place, once, whatever fails meanwhile."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from tenants.exceptions import InvalidInput
from tenants.ledger import checkpoints, sealer, verification
from tenants.ledger.documents import check_signature, parse
from tenants.ledger.keys import printable, public_keys, signing_key
from tenants.ledger.sinks import sinks
from tenants.models import AuditCheckpoint, AuditSink
from tests.audit.conftest import Registry, new_key, write_events
from tests.audit.servers import Collector, collector, s3_server


def take(count: int = 1) -> Any:
    """So many new events, sealed and signed."""
    write_events(count)
    sealer.seal_pending()
    return checkpoints.checkpoint()


def test_nothing_is_signed_without_a_key_or_without_events(registry: Registry, settings: Any) -> None:
    assert checkpoints.checkpoint() == (None, {})
    settings.AUDIT_SIGNING_KEY = ""
    assert take() == (None, {})
    assert any("no checkpoint" in notice for notice in verification.verify().notices)


def test_the_same_end_is_signed_again_only_after_an_hour(registry: Registry) -> None:
    first, _ = take()
    assert checkpoints.checkpoint()[0] is None
    registry.tamper(
        f"UPDATE tenants_auditcheckpoint SET at = at - interval '{checkpoints.QUIET + timedelta(minutes=1)}'"
    )
    again, _ = checkpoints.checkpoint()
    assert (again.number, again.seq, again.previous) == (first.number + 1, first.seq, first.digest)


def test_a_file_grows_line_by_line_and_is_private(registry: Registry) -> None:
    documents = [take()[0].document for _ in range(3)]
    assert registry.checkpoints.read_text() == "".join(f"{one}\n" for one in documents)
    assert stat.S_IMODE(registry.checkpoints.stat().st_mode) == 0o600
    for document in documents:
        check_signature(parse(document), public_keys())


def test_a_line_torn_by_a_crash_is_written_again(registry: Registry) -> None:
    take()
    second, _ = take()
    registry.tamper("UPDATE tenants_auditsink SET delivered = 1")  # the crash was before the commit, too
    registry.checkpoints.write_text(registry.checkpoints.read_text()[:-40])
    assert checkpoints.deliver() == {}
    assert registry.checkpoints.read_text().splitlines()[-1] == second.document
    registry.tamper("UPDATE tenants_auditsink SET delivered = 0")
    assert checkpoints.deliver() == {}
    assert len(registry.checkpoints.read_text().splitlines()) == 2, "what is there is not written twice"


def test_a_place_that_is_away_gets_all_of_it_later(registry: Registry, settings: Any) -> None:
    blocked = registry.place / "blocked"
    blocked.write_text("a file where the directory should be")
    away = f"file://{blocked}/checkpoints.jsonl"
    settings.AUDIT_CHECKPOINT_URLS = [*settings.AUDIT_CHECKPOINT_URLS, away]
    for _ in range(2):
        taken, wrong = take()
        assert list(wrong) == [away], "the other place has it"
        assert taken.document in registry.checkpoints.read_text()
    assert AuditSink.objects.get(url=away).last_error
    blocked.unlink()
    assert checkpoints.checkpoint() == (None, {})
    assert (blocked / "checkpoints.jsonl").read_text() == registry.checkpoints.read_text()
    assert AuditSink.objects.get(url=away).last_error == ""


@pytest.fixture
def bucket(settings: Any, registry: Registry, monkeypatch: Any) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    with s3_server() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket="vault")
        settings.AUDIT_CHECKPOINT_URLS = [f"s3://vault/audit/eu?endpoint_url={url}&region=us-east-1"]
        yield client


def test_s3(registry: Registry, bucket: Any) -> None:
    taken = [take()[0] for _ in range(3)]
    found = bucket.list_objects_v2(Bucket="vault")["Contents"]
    assert [row["Key"] for row in found] == [f"audit/eu/{n:012d}.json" for n in (1, 2, 3)]
    (place,) = sinks()
    assert place.read(0) == [one.document for one in taken]
    assert place.read(2) == [taken[2].document]
    registry.tamper("UPDATE tenants_auditsink SET delivered = 0")
    assert checkpoints.deliver() == {}, "what is there and the same is fine"
    # The end is cut off, with its copies here: the bucket has them.
    registry.tamper(
        "DELETE FROM tenants_auditseal WHERE seq > 1", "DELETE FROM tenants_auditcheckpoint WHERE number > 1"
    )
    assert "tail_cut" in {one.code for one in verification.verify().findings}
    registry.tamper("UPDATE tenants_auditsink SET delivered = 1")
    sealer.seal_pending()
    taken_again, wrong = take()
    assert taken_again.number == 2
    assert "another checkpoint 2" in next(iter(wrong.values()))
    assert place.read(1)[0] == taken[1].document, "never overwritten"


@pytest.fixture
def hook(settings: Any, registry: Registry) -> Iterator[Collector]:
    with collector() as own:
        settings.AUDIT_CHECKPOINT_URLS = [f"{own.url}/checkpoints?token=sesame"]
        yield own


def test_a_webhook_gets_documents_that_it_can_verify_itself(registry: Registry, hook: Collector) -> None:
    first, wrong = take()
    assert wrong == {}
    ((path, headers, body),) = hook.taken
    assert path == "/checkpoints?token=sesame"
    assert headers["Idempotency-Key"] == f"{first.log}:1"
    check_signature(parse(body.decode()), public_keys([printable(signing_key())], only=True))
    for status in (500, 302):
        hook.status = status
        _, wrong = take()
        assert str(status) in next(iter(wrong.values()))
        assert "sesame" not in str(wrong) + str(list(AuditSink.objects.values()))
    hook.status, hook.taken[:] = 200, []
    assert checkpoints.deliver() == {}
    assert [parse(body.decode()).number for *_, body in hook.taken] == [2, 3]


def test_bad_places_and_keys_are_said(registry: Registry, settings: Any) -> None:
    for url in ("ftp://x/y", "http://example.com/hook", "s3://bucket/x?acl=public", "checkpoints.jsonl"):
        with pytest.raises(InvalidInput):
            sinks([url])
    for key in ("x", "not base64 at all!", new_key()[:20]):
        settings.AUDIT_SIGNING_KEY = key
        with pytest.raises(InvalidInput) as caught:
            signing_key()
        assert key not in str(caught.value) or len(key) == 1


def test_only_one_signs(registry: Registry) -> None:
    import psycopg

    write_events(1)
    sealer.seal_pending()
    with psycopg.connect(registry.url) as other:
        other.execute(checkpoints.QUERIES["try_checkpoint"])
        assert checkpoints.checkpoint()[0] is None
    assert checkpoints.checkpoint()[0].number == 1
    assert AuditCheckpoint.objects.count() == 1
