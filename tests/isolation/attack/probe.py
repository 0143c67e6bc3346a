"""What a probe is: one thing a tenant tries on another, how to tell that it worked, and who may do it rightly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Harm = Literal["read", "modify", "escalate", "leak", "disturb"]
# Zero of these, at every level: what is promised.
NEVER: frozenset[str] = frozenset({"read", "modify", "escalate"})


@dataclass(frozen=True)
class Probe:
    """One attempt. Names in braces are filled in: {a} and {b} are the attacker's and the victim's schema.

    It is open when the statement runs and, where it returns rows, the first value is true. The control is the same act
    (or `control`) by one who may (`may`): it must be open, or the probe proves nothing.
    """

    name: str
    channel: str
    harm: Harm
    sql: str
    may: str = "superuser"
    control: str = ""
    by: str = "tenant"
    # Statements that cannot run within a transaction; `undo` takes back what they did, should they work.
    alone: bool = False
    undo: str = ""
    # What SQL alone cannot play: a function of (stage, session) that tells whether it is open.
    play: Callable[[Any, Any], bool] | None = None
    # A connection instead of a statement: what differs from the attacker's own.
    connect: tuple[tuple[str, str], ...] = ()
    # Only where it means something.
    majors: tuple[int, ...] = (15, 18)
    paths: tuple[str, ...] = ("direct", "pooled")
    levels: tuple[str, ...] = ("baseline", "lockdown", "sealed")

    @property
    def key(self) -> str:
        """By what residual.toml and the report know it."""
        return f"{self.channel}/{self.name}"
