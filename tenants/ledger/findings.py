"""What a verification can find."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `seq`, `event` and `at` say where, as far as there is a where."""

    code: str
    message: str
    seq: int | None = None
    event: int | None = None
    at: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}
