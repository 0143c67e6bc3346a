"""Every way to tamper with the log that we know, done by somebody who owns the server, is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenants.ledger import checkpoints, sealer, verification
from tenants.ledger.hashing import event_digest, genesis, link
from tests.audit.conftest import Registry, new_key, write_events


def first_bad(**options: Any) -> tuple[str, int | None]:
    result = verification.verify(**options)
    assert result.first_bad is not None, "nothing was found"
    return result.first_bad.code, result.first_bad.seq


def codes(**options: Any) -> set[str]:
    return {one.code for one in verification.verify(**options).findings}


def test_an_untouched_log_holds(sealed: Registry) -> None:
    result = verification.verify()
    assert (result.findings, result.events, result.to_seq, result.checkpoints) == ([], 30, 30, 3)
    assert verification.verify(from_checkpoint=2).events == 10
    write_events(5)  # not sealed yet: that is no tampering
    assert verification.verify().ok
    sealer.seal_pending()
    assert verification.verify().to_seq == 35


EDITS = (
    "reason = 'another'",
    "actor_label = 'somebody else'",
    "actor_id = '7'",
    "actor_kind = 'user'",
    "at = at - interval '1 microsecond'",
    "action = 'tests.other'",
    "outcome = 'failure'",
    "channel = 'rest'",
    "ip = '192.0.2.7'",
    "request_id = request_id || 'x'",
    "tenant_id = gen_random_uuid()",
    "tenant_slug = 'acme'",
    "target_type = 'plan'",
    "target_id = '1'",
    "target_label = 'x'",
    "before = NULL",
    "after = jsonb_set(after, '{n}', '2.50')",  # the same number, but another text
    "before = 'null'",
)


def test_every_edited_field(sealed: Registry) -> None:
    """One field of each of the first events; each is named, and no other."""
    sealed.tamper(*(f"UPDATE tenants_auditevent SET {edit} WHERE id = {of(n)}" for n, edit in enumerate(EDITS, 1)))
    found = [(one.code, one.seq) for one in verification.verify().findings]
    assert found == [("event_changed", seq) for seq in range(1, len(EDITS) + 1)]
    assert first_bad() == ("event_changed", 1)


def of(seq: int) -> str:
    return f"(SELECT event_id FROM tenants_auditseal WHERE seq = {seq})"


TAMPERINGS: dict[str, tuple[list[str], tuple[str, int | None]]] = {
    "an event deleted": ([f"DELETE FROM tenants_auditevent WHERE id = {of(12)}"], ("event_missing", 12)),
    "a seal deleted": (["DELETE FROM tenants_auditseal WHERE seq = 12"], ("seal_missing", 12)),
    "an event and its seal deleted": (
        [f"DELETE FROM tenants_auditevent WHERE id = {of(12)}", "DELETE FROM tenants_auditseal WHERE seq = 12"],
        ("seal_missing", 12),
    ),
    "deleted, and the others moved up": (
        [
            f"DELETE FROM tenants_auditevent WHERE id = {of(12)}",
            "DELETE FROM tenants_auditseal WHERE seq = 12",
            "UPDATE tenants_auditseal SET seq = -seq WHERE seq > 12",
            "UPDATE tenants_auditseal SET seq = -seq - 1 WHERE seq < 0",
        ],
        ("link_broken", 12),
    ),
    "payloads of two events swapped": (
        [
            f"UPDATE tenants_auditevent a SET reason = b.reason FROM tenants_auditevent b "
            f"WHERE (a.id, b.id) IN (({of(12)}, {of(20)}), ({of(20)}, {of(12)}))"
        ],
        ("event_changed", 12),
    ),
    "two seals swapped": (
        [
            "UPDATE tenants_auditseal SET seq = -1 WHERE seq = 12",
            "UPDATE tenants_auditseal SET seq = 12 WHERE seq = 20",
            "UPDATE tenants_auditseal SET seq = 20 WHERE seq = -1",
        ],
        ("link_broken", 12),
    ),
    "the events of two seals swapped": (
        [
            "UPDATE tenants_auditseal SET event_id = -event_id WHERE seq IN (12, 20)",
            "UPDATE tenants_auditseal a SET event_id = -b.event_id FROM tenants_auditseal b "
            "WHERE (a.seq, b.seq) IN ((12, 20), (20, 12))",
        ],
        ("link_broken", 12),
    ),
    "the time of a seal changed": (
        ["UPDATE tenants_auditseal SET sealed_at = sealed_at - interval '1 day' WHERE seq = 12"],
        ("link_broken", 12),
    ),
    "the last seal's hash changed": (
        [r"UPDATE tenants_auditseal SET hash = sha256('x') WHERE seq = 30"],
        ("link_broken", 30),
    ),
    "the end cut off, seals and events": (
        [
            "DELETE FROM tenants_auditevent WHERE id IN (SELECT event_id FROM tenants_auditseal WHERE seq > 25)",
            "DELETE FROM tenants_auditseal WHERE seq > 25",
        ],
        ("tail_cut", 26),
    ),
    "the end cut off, with its checkpoints": (
        [
            "DELETE FROM tenants_auditevent WHERE id IN (SELECT event_id FROM tenants_auditseal WHERE seq > 20)",
            "DELETE FROM tenants_auditseal WHERE seq > 20",
            "DELETE FROM tenants_auditcheckpoint WHERE number > 2",
        ],
        ("tail_cut", 21),
    ),
    "everything emptied": (
        ["TRUNCATE tenants_auditevent, tenants_auditseal, tenants_auditcheckpoint"],
        ("tail_cut", 1),
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering(sealed: Registry, name: str) -> None:
    statements, expected = TAMPERINGS[name]
    sealed.tamper(*statements)
    assert first_bad() == expected


def test_an_event_put_in_afterwards(sealed: Registry) -> None:
    """Into an id that the sealer has passed by long ago."""
    sealed.tamper(
        "UPDATE tenants_auditsealer SET scan_from = 1 + (SELECT max(id) FROM tenants_auditevent)",
        "INSERT INTO tenants_auditevent (id, at, action, outcome, actor_kind, actor_id, actor_label, channel, "
        "request_id, tenant_slug, target_type, target_id, target_label, reason) SELECT -5, at, action, outcome, "
        "actor_kind, actor_id, actor_label, channel, request_id, tenant_slug, target_type, target_id, target_label, "
        f"'put in' FROM tenants_auditevent WHERE id = {of(5)}",
    )
    assert sealer.seal_pending() == 0
    assert codes() == {"event_outside"}
    assert codes(from_checkpoint=1) == set(), "below where this one began"


def rewrite(registry: Registry, change: Callable[[psycopg.Connection[Any]], None]) -> None:
    """What somebody with all rights and our source code can do: change, and compute the whole chain anew."""
    registry.tamper(triggers=False)
    with psycopg.connect(registry.superuser_url) as session:
        change(session)
        (log_id,) = session.execute("SELECT log_id FROM tenants_auditsealer").fetchone()
        rows = session.execute(verification.QUERIES["seals"], {"above": 0, "upto": 2**62}).fetchall()
        previous = genesis(log_id)
        for seq, row in enumerate((row for row in rows if row[5] is not None), start=1):
            digest = event_digest(row[5:])
            previous = link(previous, seq, row[1], row[2], digest)
            session.execute("DELETE FROM tenants_auditseal WHERE seq = %s OR event_id = %s", [seq, row[1]])
            values = [seq, row[1], row[2], digest, previous]
            session.execute("INSERT INTO tenants_auditseal VALUES (%s, %s, %s, %s, %s)", values)
        session.execute("DELETE FROM tenants_auditseal WHERE seq > %s", [seq])
    registry.tamper()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (f"UPDATE tenants_auditevent SET actor_label = 'mallory' WHERE id = {of(5)}", ("chain_rewritten", 10)),
        (f"DELETE FROM tenants_auditevent WHERE id = {of(15)}", ("chain_rewritten", 20)),
    ],
)
def test_the_whole_chain_rewritten_consistently(sealed: Registry, change: str, expected: tuple[str, int]) -> None:
    rewrite(sealed, lambda session: session.execute(change))
    assert first_bad() == expected


def test_what_only_checkpoints_can_see_is_seen_by_nothing_else(sealed: Registry, settings: Any) -> None:
    """The positive control: without any checkpoint the rewritten chain holds, and the result says what that means."""
    rewrite(sealed, lambda session: session.execute(f"UPDATE tenants_auditevent SET reason = '' WHERE id = {of(5)}"))
    sealed.tamper("TRUNCATE tenants_auditcheckpoint")
    settings.AUDIT_CHECKPOINT_URLS = []
    result = verification.verify()
    assert result.ok
    assert any("no checkpoint" in notice for notice in result.notices)


def test_from_a_checkpoint_on(sealed: Registry) -> None:
    sealed.tamper(f"UPDATE tenants_auditevent SET reason = '' WHERE id = {of(5)}")
    assert first_bad() == ("event_changed", 5)
    assert verification.verify(from_checkpoint=1).ok, "what is before it was verified before"
    sealed.tamper("UPDATE tenants_auditseal SET hash = sha256('x') WHERE seq = 20")
    assert first_bad(from_checkpoint=2) == ("chain_rewritten", 20)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DROP TRIGGER audit_no_change ON tenants_auditevent", "trigger_missing"),
        ("DROP TRIGGER audit_no_truncate ON tenants_auditseal", "trigger_missing"),
        ("ALTER TABLE tenants_auditevent DISABLE TRIGGER audit_no_change", "trigger_disabled"),
        ("ALTER TABLE tenants_auditcheckpoint ENABLE TRIGGER audit_no_change", "trigger_disabled"),
        ("CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
         "$$BEGIN RETURN coalesce(new, old); END$$", "trigger_altered"),
        ("CREATE OR REPLACE TRIGGER audit_no_change BEFORE DELETE ON tenants_auditevent FOR EACH ROW "
         "EXECUTE FUNCTION refuse_audit_change(); ALTER TABLE tenants_auditevent ENABLE ALWAYS TRIGGER audit_no_change",
         "trigger_altered"),
        ("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$; "
         "CREATE TRIGGER a BEFORE INSERT ON tenants_auditevent FOR EACH ROW EXECUTE FUNCTION swallow()",
         "trigger_foreign"),
        ("CREATE RULE a AS ON INSERT TO tenants_auditevent DO INSTEAD NOTHING", "table_altered"),
        ("ALTER TABLE tenants_auditevent ENABLE ROW LEVEL SECURITY", "table_altered"),
        ("CREATE TABLE child () INHERITS (tenants_auditevent)", "table_altered"),
        ("ALTER TABLE tenants_auditseal RENAME TO away", "table_missing"),
    ],
)  # fmt: skip
def test_the_guards_are_looked_at(sealed: Registry, statement: str, code: str) -> None:
    with psycopg.connect(sealed.superuser_url) as session:
        session.execute(statement)
    assert code in codes()


def lines(registry: Registry) -> list[str]:
    return registry.checkpoints.read_text().splitlines()


def test_the_copies_in_the_database_are_not_what_is_believed(sealed: Registry) -> None:
    """They are altered, or gone: the file outside has the truth."""
    sealed.tamper("UPDATE tenants_auditcheckpoint SET document = replace(document, '\"seq\":20', '\"seq\":19')")
    assert codes() == {"checkpoint_altered"}
    sealed.tamper("TRUNCATE tenants_auditcheckpoint")
    assert verification.verify().checkpoints == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda rows: [rows[0], rows[1].replace('"seq":20', '"seq":21'), rows[2]], "checkpoint_altered"),
        (lambda rows: [rows[0], rows[1].replace('"signature":"', '"signature":"AA'), rows[2]], "checkpoint_altered"),
        (lambda rows: [rows[0], "x", rows[2]], "checkpoint_altered"),
        (lambda rows: [rows[0], rows[2]], "checkpoint_missing"),
        (lambda rows: [rows[0], rows[2], rows[1]], "checkpoint_order"),
    ],
)
def test_a_changed_checkpoint_file(sealed: Registry, change: Callable[[list[str]], list[str]], code: str) -> None:
    sealed.checkpoints.write_text("\n".join(change(lines(sealed))) + "\n")
    assert code in codes()


def test_checkpoints_of_another_key_are_not_believed(sealed: Registry, settings: Any) -> None:
    from tenants.ledger.keys import printable, signing_key

    own = printable(signing_key())
    settings.AUDIT_SIGNING_KEY = new_key()
    assert codes() == {"checkpoint_altered"}
    settings.AUDIT_PUBLIC_KEYS = [own]  # the key was changed, and the old one is still believed
    assert verification.verify().ok
    write_events(1)
    sealer.seal_pending()
    checkpoints.checkpoint()
    assert verification.verify().checkpoints == 4
    assert codes(trusted_keys=[own]) == {"checkpoint_altered"}


def test_two_signed_histories_are_found(sealed: Registry, tmp_path: Path) -> None:
    """Somebody who had the key, too, signs a forged log: the copy that was brought away earlier convicts it."""
    away = tmp_path / "away.jsonl"
    away.write_text(sealed.checkpoints.read_text())
    rewrite(sealed, lambda session: session.execute(f"UPDATE tenants_auditevent SET reason = '' WHERE id = {of(5)}"))
    sealed.tamper("TRUNCATE tenants_auditcheckpoint")
    sealed.checkpoints.unlink()
    assert checkpoints.checkpoint()[0].number == 1
    assert verification.verify().ok
    assert "two_histories" in codes(checkpoint_files=[away])


def test_another_log_is_not_this_one(sealed: Registry) -> None:
    sealed.tamper("UPDATE tenants_auditsealer SET log_id = gen_random_uuid()")
    assert codes() >= {"checkpoint_foreign", "link_broken"}


def test_nothing_is_signed_for_a_log_that_contradicts_what_was_signed(sealed: Registry) -> None:
    from tenants.exceptions import Conflict

    sealed.tamper("DELETE FROM tenants_auditseal WHERE seq > 25")
    write_events(3)
    sealer.seal_pending()
    with pytest.raises(Conflict, match="checkpoint 3"):
        checkpoints.checkpoint()
    assert len(lines(sealed)) == 3
    assert first_bad()[0] in ("chain_rewritten", "tail_cut")


def test_after_a_restore_the_log_goes_on_with_a_reason_that_stays(sealed: Registry, actor: Any, source: Any) -> None:
    """The registry is set back to an older state by its backup: evident, explained, and evident for good."""
    from tenants.exceptions import Conflict

    with pytest.raises(Conflict):
        checkpoints.restart_checkpoints(reason="nothing happened", actor=actor, source=source)
    sealed.tamper(
        "DELETE FROM tenants_auditevent WHERE id IN (SELECT event_id FROM tenants_auditseal WHERE seq > 10)",
        "DELETE FROM tenants_auditseal WHERE seq > 10",
        "DELETE FROM tenants_auditcheckpoint WHERE number > 1",
        "UPDATE tenants_auditsink SET delivered = 1",
    )
    write_events(2)
    sealer.seal_pending()
    assert first_bad()[0] == "tail_cut"
    taken, undelivered = checkpoints.checkpoint()
    assert (taken.number, len(undelivered)) == (2, 1), "the file refuses another checkpoint 2"
    sealed.tamper("DELETE FROM tenants_auditcheckpoint WHERE number > 1")
    restarted = checkpoints.restart_checkpoints(reason="restored from a backup", actor=actor, source=source)
    assert (restarted.number, restarted.kept) == (4, 1)
    assert checkpoints.deliver() == {}
    result = verification.verify()
    assert result.findings == []
    assert any("restored from a backup" in notice for notice in result.notices)
    sealed.tamper(f"UPDATE tenants_auditevent SET reason = '' WHERE id = {of(5)}")
    assert first_bad() == ("event_changed", 5)


def test_the_log_belongs_to_nobody_who_logs_in(sealed: Registry) -> None:
    """Once protected, the control plane's own login can add and read, and do nothing else; the product goes on."""
    from tenants.ledger.protection import protect

    assert any("could take its triggers away" in notice for notice in verification.verify().notices)
    assert protect()
    assert protect(), "again"
    for table in ("tenants_auditevent", "tenants_auditseal", "tenants_auditcheckpoint"):
        for statement in (
            f"DROP TRIGGER audit_no_change ON {table}",
            f"ALTER TABLE {table} DISABLE TRIGGER USER",
            f"ALTER TABLE {table} OWNER TO controlplane",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "SELECT cp.release_audit_log('controlplane')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                sealed.sql(statement)
    write_events(2)
    assert sealer.seal_pending() == 2
    assert checkpoints.checkpoint()[1] == {}
    result = verification.verify()
    assert result.ok
    assert not any("triggers away" in notice for notice in result.notices)
    with psycopg.connect(sealed.superuser_url) as session:
        session.execute("SELECT cp.release_audit_log('controlplane')")
    sealed.sql("ALTER TABLE tenants_auditevent ADD COLUMN extra int")
