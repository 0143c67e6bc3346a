"""What is to be measured, handed from the command to the process that measures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import provisioning

REFERENCE = Path(provisioning.__file__).parent / "reference"
OPTIONS_FILE, RESULT_FILE, STATE_FILE = "options.json", "result.json", "state.json"

# The rows in the order of the table: name and title.
ROWS = {
    "replay": "Raw replay of the clone script, one connection (the limit)",
    "replay_parallel": "Raw replay of the clone script, 4 connections",
    "cold": "Cold provisioning, from the call to the active tenant",
    "warm": "Warm claim in the service",
    "warm_unaudited": "The same without the audit log",
    "post": "Warm POST over HTTP, until the tenant's login has answered",
    "rival_clone": "django-tenants: clone of the same tables",
    "rival_migrate": "django-tenants: migrate of the same tables",
    "burst_empty": "{concurrent} concurrent POSTs, empty pool",
    "burst_warm": "{concurrent} concurrent POSTs, pool of {concurrent}",
}
PARALLEL = 4


@dataclass(frozen=True)
class Options:
    """How often and how many: `rounds` of our rows in turns, `concurrent` requests at once; `only` these rows."""

    rounds: int = 15
    concurrent: int = 100
    only: tuple[str, ...] = tuple(ROWS)
    template: str = str(REFERENCE / "trading")

    # What is fast is measured more often, what is slow less.
    @property
    def cold_each_round(self) -> int:
        """Raw replays, and cold starts, in each round: one of them takes twice as long as the next without any cause
        of ours, so that few say little."""
        return 4

    @property
    def warm_each_round(self) -> int:
        """Warm claims, and warm POSTs, in each round."""
        return 4

    def of_rival(self, row: str) -> int:
        """How often django-tenants' clone, or its migrate, is measured. Beside hundreds of schemas its clone takes
        minutes."""
        if row not in self.only:
            return 0
        return min(2, self.rounds) if row == "rival_clone" else -(-self.rounds // 5)

    def title(self, row: str) -> str:
        """The row's title."""
        return ROWS[row].format(concurrent=self.concurrent)

    def save(self, directory: Path) -> None:
        """Leave them in `directory` for the process that measures."""
        (directory / OPTIONS_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Options:
        """What `save` left there."""
        values = json.loads((directory / OPTIONS_FILE).read_text(encoding="utf-8"))
        return cls(**{**values, "only": tuple(values["only"])})


def template_directory(text: str) -> Path | None:
    """The directory of SQL files that is meant: a reference template's name, or a path. None when there is neither."""
    for path in (REFERENCE / text, Path(text)):
        if text and path.is_dir():
            return path.resolve()
    return None
