"""The whole benchmark: a registry of its own, the processes that measure in it, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings

from provisioning.bench import report, scratch
from provisioning.bench.options import RESULT_FILE, STATE_FILE, Options
from provisioning.bench.rivals import APP, app_environment
from tenants.exceptions import ControlPlaneError

STOP_SECONDS = 40.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(options: Options) -> dict[str, Any]:
    """Measure and return the document. Raises ControlPlaneError when a stage fails, KeyboardInterrupt on a signal."""
    with _interruptible(), tempfile.TemporaryDirectory(prefix="cp-bench-") as name, scratch.registry() as environment:
        directory = Path(name)
        options.save(directory)
        print(f"  in the database {environment['CELERY_QUEUE']}, for as long as it takes", file=sys.stderr, flush=True)
        _stage("prepare", directory, environment)
        state = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        if (directory / APP).is_dir() and "rival_migrate" not in state["errors"]:
            environment |= app_environment(directory, environment)
        _stage("measure", directory, environment)
        return report.complete(json.loads((directory / RESULT_FILE).read_text(encoding="utf-8")))


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first signal to end is an exception, so that all is taken away; further ones are ignored meanwhile."""

    def end(number: int, _frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(f"signal {number}")

    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stage(name: str, directory: Path, environment: Mapping[str, str]) -> None:
    """Run one stage as a process in a session of its own, whose output goes to our stderr."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "provisioning.bench", name, str(directory)],
        cwd=settings.BASE_DIR,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,
        start_new_session=True,
    )
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code:
        raise ControlPlaneError(f"The benchmark's stage '{name}' ended with exit code {code}.", code="bench_failed")
