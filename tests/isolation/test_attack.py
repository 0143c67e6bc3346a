"""The attack suite on both servers, at each level, directly and through a pooler; and with protections taken away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tenants.hardening.proof import Finding, findings
from tests.isolation.arena import SERVERS, shared_roles, touches_all
from tests.isolation.attack import NEVER, PROBES, Probe
from tests.isolation.attack.mutants import MUTANTS, Mutant
from tests.isolation.attack.pooled import PROGRAM, pooled
from tests.isolation.attack.report import REPORT
from tests.isolation.attack.residual import AT_MOST, listed, reason
from tests.isolation.attack.stage import REFUSALS, Outcome, Stage, attack_template, attempt, control, staged

PROMISED_PROBES, PROMISED_MUTANTS = 137, 35
MAJORS = [pytest.param(s.major, marks=pytest.mark.skipif(bool(s.missing), reason=s.missing)) for s in SERVERS.values()]
LEVELS = ("baseline", "lockdown", "sealed")


@pytest.fixture(scope="session")
def attacked(cluster: Any) -> Any:
    """The template of both tenants, compiled once."""
    return attack_template(cluster)


def fitting(major: int, level: str, path: str) -> Iterator[Probe]:
    """The probes that mean something there."""
    for probe in PROBES:
        if major in probe.majors and level in probe.levels and path in probe.paths:
            yield probe


def play(stage: Stage, path: str, dsn: str) -> dict[str, Outcome]:
    """Every probe's outcome on one path."""
    return {
        probe.key: attempt(stage, probe, stage.migrator_dsn if probe.by == "migrator" else dsn)
        for probe in fitting(stage.server.major, stage.level, path)
    }


def judge(stage: Stage, path: str, outcomes: dict[str, Outcome]) -> list[str]:
    """What is other than residual.toml says, in words."""
    groups, wrong = listed(), []
    for probe in fitting(stage.server.major, stage.level, path):
        outcome, why = outcomes[probe.key], reason(listed(), probe, stage.server.major, stage.level, path)
        if outcome.open and not why:
            wrong.append(f"{probe.key} ({probe.harm}) is open")
        if not outcome.open and why:
            wrong.append(f"{probe.key} is closed: take it off the residual list")
        if not outcome.open and outcome.sqlstate and outcome.sqlstate not in REFUSALS:
            wrong.append(f"{probe.key} failed for another reason: {outcome.sqlstate} {outcome.message}")
        REPORT.note(stage.server.major, stage.level, path, probe, outcome.open, why)
    assert groups
    return wrong


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("major", MAJORS)
def test_one_tenant_against_another(major: int, level: str, attacked: Any) -> None:
    with staged(SERVERS[major], level, attacked) as stage:
        fine = [probe for probe in fitting(major, level, "direct") if control(stage, probe).open]
        broken = [probe.key for probe in fitting(major, level, "direct") if probe not in fine]
        assert broken == [], "a probe whose control fails proves nothing"
        assert judge(stage, "direct", play(stage, "direct", stage.attacker_dsn)) == []
        REPORT.note_bounds(major, level, stage.measured)
        with (
            shared_roles(stage.server),
            psycopg.connect(stage.cluster.dsn().conninfo(), autocommit=True) as session,
        ):
            assert findings(session, level=level) == []
        if PROGRAM is None:
            pytest.skip("directly all is well; pgbouncer is not installed, so the pooled path was not played")
        with pooled(stage) as dsn:
            assert judge(stage, "pooled", play(stage, "pooled", dsn)) == []
            REPORT.note_bounds(major, level, stage.measured)


@pytest.mark.parametrize("major", MAJORS)
def test_each_protection_taken_away_is_noticed(major: int, attacked: Any) -> None:
    with staged(SERVERS[major], "sealed", attacked) as stage:
        limits = stage.cluster.tenants.get(schema_name=stage.names["a"]).effective_limits()
        stage.names |= {"limit": str(limits["connection_limit"]), "temp": f"{limits['temp_file_limit_kb']}kB"}
        with shared_roles(stage.server):
            before, open_before = proof(stage), opened(stage)
        missed = []
        for mutant in MUTANTS:
            with shared_roles(stage.server, change=touches_all(mutant.remove)):
                change(stage, mutant.remove)
                try:
                    told = sorted({finding.what for finding in proof(stage) - before})
                    broken = sorted(opened(stage, LOOKS if mutant.shows else ACTS) - open_before)
                finally:
                    change(stage, mutant.restore)
            REPORT.note_mutant(major, mutant, told, broken)
            if not told and not broken:
                missed.append(mutant.name)
        assert missed == []
        with shared_roles(stage.server):
            assert (proof(stage), opened(stage)) == (before, open_before), "everything is as it was before"


def change(stage: Stage, text: str) -> None:
    """Take a protection away, or put it back."""
    stage.superuser.execute(stage.fill(text))


def proof(stage: Stage) -> set[Finding]:
    """What the catalog proof tells."""
    with psycopg.connect(stage.cluster.dsn().conninfo(), autocommit=True) as session:
        return set(findings(session, level=stage.level))


LOOKS = frozenset(
    {"definitions", "names", "role names", "counters", "notify", "advisory locks", "load", "own code", "server"}
)
ACTS = frozenset({probe.channel for probe in PROBES}) - {"definitions", "names", "role names", "counters"}


def opened(stage: Stage, channels: frozenset[str] = LOOKS | ACTS) -> set[str]:
    """Which probes of these channels are open; those that take long or many connections are left out."""
    quick = [p for p in fitting(stage.server.major, stage.level, "direct") if p.play is None and not p.alone]
    quick = [p for p in quick if p.channel in channels]
    return {
        probe.key
        for probe in quick
        if attempt(stage, probe, stage.migrator_dsn if probe.by == "migrator" else stage.attacker_dsn).open
    }


def test_there_are_as_many_probes_and_mutants_as_promised() -> None:
    keys = [probe.key for probe in PROBES]
    assert len(keys) == len(set(keys)) >= PROMISED_PROBES
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= PROMISED_MUTANTS
    assert isinstance(MUTANTS[0], Mutant)


def test_the_residual_list_holds_no_read_no_change_and_no_escalation_and_only_shrinks() -> None:
    groups, by_key = listed(), {probe.key: probe for probe in PROBES}
    named = [key for group in groups for key in group.probes]
    assert set(named) <= set(by_key), "the list names probes that do not exist"
    assert [key for key in named if by_key[key].harm in NEVER] == []
    assert all(len(group.why) > 20 for group in groups)
    counts = Counter(level for group in groups for level in group.levels for _ in group.probes)
    assert dict(counts) == AT_MOST, "lower AT_MOST when something was closed; it is never raised"
