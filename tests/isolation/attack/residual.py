"""The residual list: what is known to be open, read from residual.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.isolation.attack.probe import Probe

FILE = Path(__file__).parents[1] / "residual.toml"
# The most that may be listed at each level. These numbers go down, never up: whoever closes something lowers them.
AT_MOST = {"baseline": 145, "lockdown": 67, "sealed": 29}


@dataclass(frozen=True)
class Listed:
    """One group of the list: why these probes are open, and where."""

    why: str
    levels: tuple[str, ...]
    paths: tuple[str, ...]
    majors: tuple[int, ...]
    probes: tuple[str, ...]

    def holds(self, probe: Probe, major: int, level: str, path: str) -> bool:
        """Whether this says that the probe is open there."""
        return probe.key in self.probes and level in self.levels and path in self.paths and major in self.majors


def listed() -> list[Listed]:
    """All of it."""
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [
        Listed(
            group["why"],
            tuple(group["levels"]),
            tuple(group["paths"]),
            tuple(group.get("majors", (15, 18))),
            tuple(group["probes"]),
        )
        for group in document["open"]
    ]


def reason(groups: list[Listed], probe: Probe, major: int, level: str, path: str) -> str:
    """Why a probe is open there; empty when it must be closed."""
    return next((group.why for group in groups if group.holds(probe, major, level, path)), "")
