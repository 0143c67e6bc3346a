"""The commands, beat's tasks and what they leave behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tenants import tasks
from tenants.ledger import verification
from tenants.models import AuditCheckpoint, AuditEvent, AuditSeal, AuditVerification
from tests.audit.conftest import Registry, write_events
from tests.audit.test_tampering import of
from tests.commands.support import call, manage, refusal, text
from tests.support.databases import PROJECT


def environment(registry: Registry, settings: Any) -> dict[str, str]:
    return {
        "DATABASE_URL": registry.url,
        "AUDIT_SIGNING_KEY": settings.AUDIT_SIGNING_KEY,
        "AUDIT_CHECKPOINT_URLS": ",".join(settings.AUDIT_CHECKPOINT_URLS),
    }


def test_seal_verify_and_checkpoint(registry: Registry) -> None:
    write_events(4)
    sealed = call("seal_audit_log")
    assert (sealed["sealed"], sealed["waiting"], sealed["checkpoint"], sealed["undelivered"]) == (4, 0, 1, {})
    shown = call("checkpoint_audit_log")
    assert (shown["new"], shown["number"], shown["seq"], shown["places"][0]["delivered"]) == (False, 1, 4, 1)
    found = call("verify_audit_log")
    assert (found["ok"], found["events"], found["checkpoints"], found["first_bad"]) == (True, 4, 1, None)
    assert "the log holds" in text("verify_audit_log", "--from-checkpoint", "1")
    assert refusal("verify_audit_log", "--from-checkpoint", "7")[0] == 4
    assert refusal("verify_audit_log", "--checkpoints", "/no/such/file")[0] == 2
    assert refusal("checkpoint_audit_log", "--restart", "for no reason")[0] == 3


def test_tampering_ends_verify_audit_log_with_8_and_says_where(sealed: Registry, settings: Any) -> None:
    sealed.tamper(f"UPDATE tenants_auditevent SET actor_label = 'nobody' WHERE id = {of(12)}")
    ran = manage("verify_audit_log", "--json", **environment(sealed, settings))
    assert ran.code == 8
    event = AuditSeal.objects.get(seq=12).event_id
    first = ran.document["first_bad"]
    assert (first["code"], first["seq"], first["event"]) == ("event_changed", 12, event)
    assert f"The event {event} (tests.act by nobody)" in ran.problem["detail"]
    assert AuditVerification.objects.latest("id").findings[0]["event"] == event
    assert AuditEvent.objects.filter(action="audit.verify", outcome="failure").count() == 1
    key = call("checkpoint_audit_log")["public_key"]
    assert refusal("verify_audit_log", "--checkpoints", str(sealed.checkpoints), f"--public-key={key}")[0] == 8


def test_beat_verifies_what_is_new_and_each_day_all(sealed: Registry) -> None:
    assert tasks.verify_audit_log() is True
    first = AuditVerification.objects.latest("id")
    assert (first.full, first.events, first.actor_label) == (True, 30, "control plane")
    write_events(2)
    assert tasks.seal_audit_log() == 2
    tasks.checkpoint_audit_log()
    assert tasks.verify_audit_log() is True
    new = AuditVerification.objects.latest("id")
    assert (new.full, new.from_seq, new.to_seq, new.events) == (False, 30, 32, 2)
    assert not AuditEvent.objects.filter(action="audit.verify").exists(), "what is well is not written down each time"
    sealed.tamper(f"UPDATE tenants_auditevent SET reason = '' WHERE id = {of(3)}")
    assert tasks.verify_audit_log() is True, "only the new ones are read"
    for _ in range(2):
        assert tasks.verify_whole_audit_log() is False
    assert tasks.verify_audit_log() is False, "after a bad one all is read, until it is well"
    assert AuditEvent.objects.filter(action="audit.verify", outcome="failure").count() == 1, "said once"


def test_protect_audit_log(registry: Registry) -> None:
    assert call("protect_audit_log") == {"protected": True}
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'tenants_auditevent'"
    assert registry.sql(owner) == [("cp_audit",)]


@pytest.mark.timeout(120)
def test_the_sealer_seals_within_seconds_and_ends_when_told(registry: Registry, settings: Any) -> None:
    import os

    env = {**os.environ, **environment(registry, settings)}
    command = [sys.executable, "manage.py", "seal_audit_log", "--follow", "--json"]
    process = subprocess.Popen(command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        write_events(1)
        assert within(60, lambda: AuditCheckpoint.objects.count() == 1), "it has started"
        for _ in range(3):
            write_events(5)
            begun = time.monotonic()
            assert within(5, lambda: AuditSeal.objects.count() == AuditEvent.objects.count()), "sealed within 5 s"
            assert time.monotonic() - begun < 5
        # A connection that is cut is made anew.
        import psycopg

        with psycopg.connect(registry.superuser_url, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        from django.db import connection

        connection.close()
        write_events(1)
        assert within(20, lambda: AuditSeal.objects.count() == AuditEvent.objects.count()), "goes on after an error"
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert '"sealed":' in out
    assert verification.verify().ok


def within(seconds: float, true: Any) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return False
