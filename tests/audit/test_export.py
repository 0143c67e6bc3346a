"""Exports: what a spreadsheet cannot compute, and what somebody else can verify without us."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenants.ledger import checkpoints, sealer
from tenants.ledger.keys import printable, signing_key
from tenants.models import AuditEvent
from tests.audit.conftest import Registry, new_key, write_events
from tests.commands.support import call, refusal
from tests.support.databases import PROJECT

VERIFIER = PROJECT / "scripts" / "verify_audit_export.py"


def verify(path: Path, key: str) -> subprocess.CompletedProcess[str]:
    """As somebody else would: the script alone, in a Python that finds nothing of ours."""
    return subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(path), f"--public-key={key}"],
        capture_output=True, text=True, cwd="/", env={}, check=False,
    )  # fmt: skip


@pytest.fixture
def exported(sealed: Registry, tmp_path: Path) -> tuple[Path, str]:
    """Three events of a special action, in two of five stretches between checkpoints; one more is not signed."""
    for count, action in ((1, "tests.special"), (20, "tests.act"), (2, "tests.special")):
        write_events(count, action)
        sealer.seal_pending()
        checkpoints.checkpoint()
    write_events(1, "tests.special")
    sealer.seal_pending()
    path = tmp_path / "out.jsonl"
    call("export_audit_log", str(path), "--action", "tests.special")
    return path, printable(signing_key())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_export_is_verified_by_a_script_that_knows_nothing_of_us(exported: tuple[Path, str]) -> None:
    path, key = exported
    kinds = [row["kind"] for row in rows(path)]
    # The stretches without such an event are left out, and other events show their digests only.
    assert kinds == ["audit export v1", "start", "event", "checkpoint", "start", "event", "event", "checkpoint", "end"]
    assert all(row["event"]["action"] == "tests.special" for row in rows(path) if row["kind"] == "event")
    done = verify(path, key)
    assert (done.returncode, done.stdout) == (
        0, "well: 3 events, proven by 2 signed checkpoints; 1 more were not signed yet\n"
    )  # fmt: skip
    assert AuditEvent.objects.get(action="audit.export").after == {
        "format": "jsonl", "filter": {"action": "tests.special"},
    }  # fmt: skip


def test_others_are_digests_in_the_same_stretch(sealed: Registry, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    (event,) = AuditEvent.objects.order_by("id")[14:15]
    from tenants.actors import Actor, Source
    from tenants.ledger.export import export

    lines = export(
        AuditEvent.objects.filter(pk=event.pk), kind="jsonl", described={}, actor=Actor("command", "", "t"),
        source=Source("command"),
    )  # fmt: skip
    path.write_text("".join(lines))
    found = rows(path)
    assert [row["kind"] for row in found] == [
        "audit export v1", "start", *["digest"] * 4, "event", *["digest"] * 5, "checkpoint", "end",
    ]  # fmt: skip
    assert path.read_text().count(r"Zo\u00eb") == 1, "nothing of the others is told"
    assert verify(path, printable(signing_key())).returncode == 0


def change(row: int, **fields: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def changed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found[row] = {**found[row], **fields}
        return found

    return changed


def edit(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found[2]["event"]["actor_label"] = "somebody else"
    return found


FORGERIES: list[Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = [
    edit,
    lambda found: [*found[:2], *found[3:]],  # an event taken out
    lambda found: [*found[:3], found[2], *found[3:]],  # doubled
    lambda found: [*found[:5], found[6], found[5], *found[7:]],  # two swapped
    lambda found: found[:-1],  # the end cut off
    lambda found: [*found[:7], found[8]],  # the last checkpoint taken away
    lambda found: [found[0], *found[2:]],  # without a start
    change(2, seq=5),
    change(2, sealed_at="2001-01-01T00:00:00.000000Z"),
    change(0, log="00000000-0000-0000-0000-000000000000"),
    change(1, checkpoint=None),
    lambda found: change(3, checkpoint=found[3]["checkpoint"].replace('"seq":31', '"seq":30'))(found),
]


@pytest.mark.parametrize("number", range(len(FORGERIES)))
def test_a_forged_export_is_not_believed(exported: tuple[Path, str], number: int) -> None:
    path, key = exported
    lines = [json.dumps(row) for row in FORGERIES[number](rows(path))]
    assert lines != [json.dumps(row) for row in rows(path)], "it was forged at all"
    path.write_text("\n".join(lines) + "\n")
    done = verify(path, key)
    assert done.returncode == 1
    assert "NOT to be believed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signature_of_somebody_else_proves_nothing(exported: tuple[Path, str], settings: Any) -> None:
    path, _ = exported
    settings.AUDIT_SIGNING_KEY = new_key()
    done = verify(path, printable(signing_key()))
    assert done.returncode == 1
    assert "not with yours" in done.stderr


def test_a_spreadsheet_gets_no_formulas(registry: Registry, tmp_path: Path) -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "plain", "a=b", "two\nlines", 'q"uote'):
        _with_reason(text)
    path = tmp_path / "out.csv"
    call("export_audit_log", str(path), "--format", "csv", "--action", "tests.csv")
    with path.open(newline="") as handle:
        found = [row["reason"] for row in csv.DictReader(handle)][::-1]
    assert found == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "'\r=1", "'  =1", "'＝1", "plain", "a=b", "two\nlines", 'q"uote',
    ]  # fmt: skip
    assert refusal("export_audit_log", str(path))[0] == 2, "nothing is overwritten"
    assert refusal("export_audit_log", str(tmp_path / "x"), "--outcome", "odd")[0] == 2


def _with_reason(text: str) -> None:
    from tenants import audit
    from tests.support.fixtures import ACTOR, SOURCE

    audit.record("tests.csv", actor=ACTOR, source=SOURCE, reason=text)


def test_rest_exports_and_tells_how_the_log_is(sealed: Registry, api_client: Any, tmp_path: Path) -> None:
    from tenants.ledger import verification

    client = api_client("audit:read")
    sealer.seal_pending()
    checkpoints.checkpoint()
    answer = client.get("audit-events/export?action=tests.act")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-ndjson")
    path = tmp_path / "rest.jsonl"
    path.write_bytes(answer.getvalue())
    done = verify(path, printable(signing_key()))
    assert "well: 30 events" in done.stdout
    text = client.get("audit-events/export?as=csv&action=tests.").getvalue().decode()
    assert text.count("tests.act") == 30
    assert client.get("audit-events/export?as=xml").status_code == 400
    assert client.get("audit-events/export?nonsense=1").status_code == 400
    assert api_client("tenants:read").get("audit-events/export").status_code == 403
    verification.verify()
    call("verify_audit_log")
    body = client.get("audit-log").json()
    assert body["seq"] == body["checkpoint"]["seq"] >= 30
    assert body["public_keys"] == [printable(signing_key())]
    assert body["last_full_verification"]["ok"] is True
    assert body["places"][0]["last_error"] == ""
    assert api_client("tenants:read").get("audit-log").status_code == 403


def test_rest_narrows_down(registry: Registry, api_client: Any) -> None:
    _with_reason("one")
    write_events(2, "tests.other")
    client = api_client("audit:read")
    assert len(client.every("audit-events?action=tests.")) == 3
    assert len(client.every("audit-events?action=tests.other&channel=command&request_id=tests")) == 2
    assert client.every("audit-events?action=tests.other&channel=rest") == []
    assert client.every("audit-events?target=nothing") == []
