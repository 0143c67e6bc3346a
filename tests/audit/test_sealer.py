"""Events get their places: all of them, once, in an order without gaps, whatever commits when and whoever dies."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import connection

from tenants.ledger import sealer
from tenants.ledger.hashing import event_digest
from tenants.models import AuditEvent, AuditSeal, AuditSealer
from tests.audit.conftest import Registry, write_events

INSERT = """
INSERT INTO tenants_auditevent (at, action, outcome, actor_kind, actor_id, actor_label, channel, request_id,
  tenant_slug, target_type, target_id, target_label, reason)
VALUES (now(), 'tests.late', 'success', 'command', '', 'tests', 'command', '', '', '', '', '', '') RETURNING id
"""


def chain() -> list[tuple[int, int]]:
    return list(AuditSeal.objects.order_by("seq").values_list("seq", "event_id"))


def test_events_are_sealed_in_order_and_without_gaps(registry: Registry) -> None:
    first = write_events(7)
    assert sealer.lag()[0] == 7
    assert sealer.seal_pending(batch=3) == 7
    assert sealer.lag() == (0, None)
    second = write_events(2)
    assert sealer.seal_pending() == 2
    assert sealer.seal_pending() == 0
    assert chain() == [(n, event.pk) for n, event in enumerate([*first, *second], start=1)]


def test_rolled_back_ids_leave_no_gap_and_late_commits_are_not_passed_by(registry: Registry) -> None:
    """Ids are given out before their transactions commit; a sealer that went by the highest id would lose some."""
    with psycopg.connect(registry.url) as late, psycopg.connect(registry.url) as never:
        late_id = late.execute(INSERT).fetchone()[0]
        never.execute(INSERT)
        (after,) = write_events(1)
        assert sealer.seal_pending() == 1
        state = AuditSealer.objects.get()
        assert state.mark_id == after.pk
        # The mark is old enough, but its transactions are not over.
        registry.sql("UPDATE tenants_auditsealer SET mark_at = now() - interval '1 hour'")
        assert sealer.seal_pending() == 0
        assert AuditSealer.objects.get().scan_from == 1
        never.rollback()
        late.commit()
    assert sealer.seal_pending() == 1
    assert chain() == [(1, after.pk), (2, late_id)]
    # Other tests have transactions on this server, too: the mark waits for those that began before it.
    deadline = time.monotonic() + 60
    while AuditSealer.objects.get().scan_from == 1 and time.monotonic() < deadline:
        assert sealer.seal_pending() == 0
        time.sleep(0.1)
    assert AuditSealer.objects.get().scan_from == after.pk + 1
    assert sealer.seal_pending() == 0


def test_one_sealer_at_a_time(registry: Registry) -> None:
    write_events(1)
    with psycopg.connect(registry.url) as other:
        other.execute(sealer.QUERIES["try_sealer"])
        assert sealer.seal_pending() is None
        assert chain() == []
    assert sealer.seal_pending() == 1


def test_a_sealer_that_dies_in_the_middle_leaves_nothing_and_loses_nothing(registry: Registry) -> None:
    write_events(3)
    with psycopg.connect(registry.url) as dying:
        dying.execute(sealer.QUERIES["try_sealer"])
        dying.execute("INSERT INTO tenants_auditseal VALUES (1, 1, now(), '\\x00', '\\x00')")
        with psycopg.connect(registry.superuser_url, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", [dying.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            dying.commit()
    assert sealer.seal_pending() == 3
    assert [seq for seq, _ in chain()] == [1, 2, 3]


def test_many_writers_and_two_sealers(registry: Registry) -> None:
    """Nothing is lost and nothing sealed twice, while transactions commit in any order and some roll back."""
    written: list[int] = []

    def write(number: int) -> None:
        with psycopg.connect(registry.url) as session:
            for turn in range(20):
                row = session.execute(INSERT).fetchone()
                if (number + turn) % 5 == 0:
                    time.sleep(0.01)
                if (number + turn) % 7 == 0:
                    session.rollback()
                else:
                    session.commit()
                    written.append(row[0])

    def seal(stop: threading.Event) -> None:
        while not stop.is_set():
            sealer.seal_pending(batch=10)
            time.sleep(0.01)
        connection.close()

    stop = threading.Event()
    sealers = [threading.Thread(target=seal, args=[stop]) for _ in range(2)]
    writers = [threading.Thread(target=write, args=[n]) for n in range(6)]
    for thread in [*sealers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in sealers:
        thread.join()
    sealer.seal_pending()
    found = chain()
    assert [seq for seq, _ in found] == list(range(1, len(written) + 1))
    assert sorted(event for _, event in found) == sorted(written)


def test_an_event_cannot_be_changed_from_its_commit_on(registry: Registry) -> None:
    write_events(1)
    sealer.seal_pending()
    for table in ("tenants_auditevent", "tenants_auditseal"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"UPDATE {table} SET {change(table)}"):
            for before in ("", "SET session_replication_role = replica;"):
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    psycopg.connect(registry.superuser_url) as own,
                ):
                    own.execute(before + statement)


def change(table: str) -> str:
    return "seq = seq + 1" if table.endswith("seal") else "reason = 'other'"


def test_no_two_events_have_the_same_bytes() -> None:
    base: list[Any] = ["1", "", "a", None]
    others = [
        ["1", "a", "", None],
        ["1", "", "a", ""],
        ["1a", "", "", None],
        ["1", "", "a"],
        ["1", "", "a", None, None],
    ]
    assert len({event_digest(fields) for fields in [base, *others]}) == 6


def test_writing_an_event_takes_one_statement(registry: Registry, django_assert_num_queries: Any) -> None:
    from tenants import audit
    from tests.support.fixtures import ACTOR, SOURCE

    write_events(1)  # a fresh connection also sets its search_path
    with django_assert_num_queries(1):
        audit.record("tests.act", actor=ACTOR, source=SOURCE)
    assert AuditEvent.objects.count() == 2
