"""What in the database keeps the log from being changed, and whether it is still there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenants.ledger.findings import Finding
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("verification.sql"))
TABLES = ["tenants_auditevent", "tenants_auditseal", "tenants_auditcheckpoint"]
SOURCE = "BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege'; END"
# tgtype: ROW 1, BEFORE 2, DELETE 8, UPDATE 16, TRUNCATE 32.
TRIGGERS = {"audit_no_change": 1 | 2 | 8 | 16, "audit_no_truncate": 2 | 32}


def check_guards(connection: Any) -> tuple[list[Finding], list[str]]:
    """What is missing or too much, as findings; and what an honest reader should know, as notices."""
    tables = connection.execute(QUERIES["tables"], {"names": TABLES}).fetchall()
    triggers = connection.execute(QUERIES["triggers"], {"names": TABLES}).fetchall()
    findings, notices = [], []
    for name, present, kind, owner, ours, row_security, rules, inherits in tables:
        if not present:
            findings.append(Finding("table_missing", f"The table {name} is gone."))
            continue
        if kind != "r" or row_security or rules or inherits:
            findings.append(
                Finding("table_altered", f"{name} has got rules, row security, inheritance or another kind.")
            )
        found = [row[1:] for row in triggers if row[0] == name]
        findings += _triggers(name, found)
        if ours:
            notices.append(
                f"This login can act as the owner of {name} ({owner}) and could take its triggers away; "
                "protect_audit_log gives the table to another role."
            )
    return findings, notices


def _triggers(table: str, found: list[tuple[Any, ...]]) -> Iterator[Finding]:
    for name, kind in TRIGGERS.items():
        one = next((row for row in found if row[0] == name), None)
        if one is None:
            yield Finding("trigger_missing", f"{table} has lost its trigger {name}: rows could have been changed.")
        elif one[1] != "A":
            yield Finding("trigger_disabled", f"The trigger {name} of {table} is not enabled always ({one[1]}).")
        elif one[2] != kind or one[3] or " ".join(one[4].split()) not in (SOURCE, f"{SOURCE};"):
            yield Finding("trigger_altered", f"The trigger {name} of {table} is not the one that was installed.")
    for row in found:
        if row[0] not in TRIGGERS:
            yield Finding(
                "trigger_foreign", f"{table} has a trigger {row[0]} that is not ours: it could swallow events."
            )
