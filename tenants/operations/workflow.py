"""What kinds of operation there are, and who carries them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenants.actors import Actor, Source
from tenants.models import Operation

if TYPE_CHECKING:
    from tenants.operations.run import Run


@dataclass(frozen=True)
class Workflow:
    """How one kind of operation is carried out.

    `execute` does the work in steps and ends with `run.finish()`. `undo` takes back what `execute` may have done and
    ends with `run.end()`; it runs after a failure or a cancellation. `heavy` work is bounded per cluster. What is
    not `cancellable` can only be cancelled before it begins. Who starts it again needs `scope` (a key) or `permission`
    (a person), too, and for what is `confirmed` must have shown the password moments ago: as for beginning it.
    `measure` is told each end: the operation, how it came out, and the seconds since it was asked for.
    """

    kind: str
    execute: Callable[[Run], None]
    undo: Callable[[Run], None] | None = None
    retry: Callable[[Operation, Actor, Source], Operation] | None = None
    heavy: bool = False
    cancellable: bool = True
    steps: int = 1
    scope: str = ""
    permission: str = ""
    confirmed: bool = False
    measure: Callable[[Operation, str, float], None] | None = None


WORKFLOWS: dict[str, Workflow] = {}


def register(workflow: Workflow) -> None:
    """Make a kind of operation known. The apps above do this when they are loaded."""
    WORKFLOWS[workflow.kind] = workflow
