"""What came of an attack run, as a page for people: written where ATTACK_REPORT says."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.isolation.attack.mutants import Mutant
from tests.isolation.attack.probe import NEVER, Probe

Place = tuple[int, str, str]  # major, level, path


@dataclass
class Report:
    """Collects outcomes while tests run."""

    outcomes: dict[Place, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))
    probes: dict[str, Probe] = field(default_factory=dict)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    mutants: dict[int, list[tuple[str, list[str], list[str]]]] = field(default_factory=lambda: defaultdict(list))
    bounds: dict[str, dict[tuple[int, str], float]] = field(default_factory=lambda: defaultdict(dict))
    versions: dict[int, str] = field(default_factory=dict)

    def note(self, major: int, level: str, path: str, probe: Probe, is_open: bool, why: str) -> None:
        """One probe's outcome, and why it is open if it may be."""
        self.outcomes[major, level, path][probe.key] = is_open
        self.probes[probe.key] = probe
        if is_open and why:
            self.reasons[level, probe.key] = why

    def note_mutant(self, major: int, mutant: Mutant, told: list[str], broken: list[str]) -> None:
        """Who noticed that a protection was gone: the proof, and how many probes."""
        self.mutants[major].append((mutant.name, told, broken))

    def note_bounds(self, major: int, level: str, measured: dict[str, float]) -> None:
        """How long disturbances lasted that cannot be closed, only bounded."""
        for name, seconds in measured.items():
            self.bounds[name][major, level] = seconds

    def write(self) -> None:
        """Write the page, if it is wanted and there is something to tell."""
        place = os.environ.get("ATTACK_REPORT")
        if place and self.outcomes:
            Path(place).write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """The page."""
        lines = [
            "# Isolation report", "",
            "Written by `make attack`: one tenant's login tries on another tenant of the same database what it can.",
            "Each attempt has a control, the same act by one who may, that must work. *Open* is what worked. It is",
            "listed with its reason in `tests/isolation/residual.toml`; anything else open fails the run, and so does",
            "anything listed that is closed.", "",
            "## Summary", "",
            "| PostgreSQL | level | path | probes | open | read, change or escalation |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for (major, level, path), outcomes in sorted(self.outcomes.items(), key=_order):
            never = [key for key, is_open in outcomes.items() if is_open and self.probes[key].harm in NEVER]
            lines.append(f"| {major} | {level} | {path} | {len(outcomes)} | {sum(outcomes.values())} | {len(never)} |")
        lines += self._bounds()
        for level in ("baseline", "lockdown", "sealed"):
            lines += self._level(level)
        return "\n".join([*lines, *self._mutants()]) + "\n"

    def _bounds(self) -> list[str]:
        if not self.bounds:
            return []
        lines = ["", "## Bounded", "", "What cannot be closed, and how long it lasted here (seconds, the longest).", ""]
        lines += ["| disturbance | seconds | measured |", "|---|---|---|"]
        for name, found in sorted(self.bounds.items()):
            lines.append(f"| {name} | {max(found.values()):.2f} | {len(found)} times |")
        return lines

    def _level(self, level: str) -> list[str]:
        places = sorted((place for place in self.outcomes if place[1] == level), key=lambda p: _order((p, {})))
        if not places:
            return []
        tried: dict[str, set[str]] = defaultdict(set)
        works: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for place in places:
            for key, is_open in self.outcomes[place].items():
                tried[self.probes[key].channel].add(key)
                if is_open:
                    works[self.probes[key].channel][key].add(f"{place[0]} {place[2]}")
        lines = [
            "",
            f"## {level.capitalize()}",
            "",
            "| channel | probes | closed everywhere | open somewhere |",
            "|---|---|---|---|",
        ]
        for channel in sorted(tried):
            count, opened = len(tried[channel]), len(works[channel])
            lines.append(f"| {channel} | {count} | {count - opened} | {opened} |")
        return [*lines, *self._open(level, works, {f"{p[0]} {p[2]}" for p in places})]

    def _open(self, level: str, works: dict[str, dict[str, set[str]]], everywhere: set[str]) -> list[str]:
        by_reason: dict[str, list[str]] = defaultdict(list)
        for channel in works.values():
            for key, where in channel.items():
                only = "" if where == everywhere else f" ({', '.join(sorted(where))})"
                by_reason[self.reasons.get((level, key), "not on the residual list")].append(f"`{key}`{only}")
        lines = ["", f"What is open at {level}, and why:" if by_reason else "Nothing is open.", ""]
        for why, keys in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            lines.append(f"- {why} {', '.join(sorted(keys))}.")
        return lines

    def _mutants(self) -> list[str]:
        if not self.mutants:
            return []
        lines = [
            "",
            "## Protections taken away",
            "",
            "Each was taken away by itself at the level sealed, and put back.",
        ]
        lines += [
            "",
            "| PostgreSQL | mutants | told by the proof | broken into by probes | missed |",
            "|---|---|---|---|---|",
        ]
        for major, rows in sorted(self.mutants.items()):
            told, broken = (sum(bool(row[i]) for row in rows) for i in (1, 2))
            lines.append(f"| {major} | {len(rows)} | {told} | {broken} | {sum(not r[1] and not r[2] for r in rows)} |")
        lines += ["", "| protection taken away | told by the proof | probes that then worked |", "|---|---|---|"]
        for name, told, broken in next(iter(self.mutants.values())):
            shown = ", ".join(f"`{key}`" for key in broken[:3]) + (
                f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            )
            lines.append(f"| {name} | {'yes' if told else 'no'} | {shown or '–'} |")
        return lines


def _order(item: tuple[Place, object]) -> tuple[int, int, str]:
    major, level, path = item[0]
    return -major, ("baseline", "lockdown", "sealed").index(level), path


REPORT = Report()
