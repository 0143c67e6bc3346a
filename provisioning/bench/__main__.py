"""The processes of a benchmark, each a stage: `python -m provisioning.bench prepare|measure DIRECTORY`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import django


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Run one stage in the registry that the environment names."""
    # So that servers started here are stopped in order when the command is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    django.setup()
    from provisioning.bench import measure

    stage = {"prepare": measure.prepare, "measure": measure.measure}[sys.argv[1]]
    stage(Path(sys.argv[2]), _tell)


if __name__ == "__main__":
    main()
