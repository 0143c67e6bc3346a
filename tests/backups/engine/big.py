"""Backs up and restores one schema in a process of its own, and says how much memory that took at most (in kB).

Run by tests: `python -m tests.backups.engine.big` with a JSON object on stdin; `kill` ends it with SIGKILL midway.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from pathlib import Path

from backups.engine.capture import capture
from backups.engine.definition import Definition
from backups.engine.keys import KeyRing
from backups.engine.restore import restore
from backups.storage.local import LocalStorage
from tenants.postgres import Dsn


def peak() -> int:
    # Not getrusage: what a process was before it became this program counts there too, and that was pytest.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0])


def main() -> None:
    given = json.load(sys.stdin)
    storage, keyring = LocalStorage(Path(given["root"])), KeyRing({"test": bytes.fromhex(given["key"])})
    reader, dsn = Dsn(**given["reader"]), Dsn(**given["dsn"])
    definition = Definition.decoded(json.dumps(given["definition"]).encode())
    before = peak()
    if "file_bytes" in given:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_bytes"], given["file_bytes"]))

    def progress(done: int, total: int, rows: int) -> None:
        if given.get("kill") == given["act"] and done > 4_000_000:
            os.kill(os.getpid(), signal.SIGKILL)

    if given["act"] == "capture":
        capture(
            dsn=reader, schema=given["schema"], definition=definition, storage=storage, prefix=given["prefix"],
            keyring=keyring, on_progress=progress,
        )  # fmt: skip
    else:
        restore(
            dsn=dsn, schema=given["schema"], storage=storage, prefix=given["prefix"], keyring=keyring,
            on_progress=progress,
        )  # fmt: skip
    print(json.dumps({"before": before, "peak": peak()}))


if __name__ == "__main__":
    main()
