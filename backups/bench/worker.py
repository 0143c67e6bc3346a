"""One measurement in a process of its own, so that its memory is its own: JSON in by stdin, JSON out by stdout."""

from __future__ import annotations

import json
import resource
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backups.engine.capture import capture
from backups.engine.definition import Definition
from backups.engine.keys import KeyRing
from backups.engine.restore import restore
from backups.engine.verify import verify
from backups.storage.local import LocalStorage
from tenants.postgres import Dsn


def main() -> None:
    """Do what is asked, and say how long it took and how much memory at most."""
    given = json.load(sys.stdin)
    storage, keyring = LocalStorage(Path(given["root"])), KeyRing({"bench": bytes.fromhex(given["key"])})
    begun, before = time.monotonic(), time.process_time()
    result = {"take": _take, "nightly": _nightly, "restore": _restore, "verify": _verify}[given["act"]](
        given, storage, keyring
    )
    seconds, cpu = time.monotonic() - begun, time.process_time() - before
    # The children are psql's: what they take counts, too.
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({**result, "seconds": round(seconds, 3), "cpu_s": round(cpu, 3), "peak_mb": round(peak, 1)}))


def _take(given: dict[str, Any], storage: LocalStorage, keyring: KeyRing) -> dict[str, Any]:
    manifest = capture(
        dsn=Dsn(**given["reader"]), schema=given["schema"], definition=_definition(given), storage=storage,
        prefix=given["prefix"], keyring=keyring, workers=given["workers"],
    )  # fmt: skip
    return {"rows": manifest.rows, "raw_bytes": manifest.raw_bytes, "stored_bytes": manifest.stored_bytes}


def _nightly(given: dict[str, Any], storage: LocalStorage, keyring: KeyRing) -> dict[str, Any]:
    definition, reader = _definition(given), Dsn(**given["reader"])

    def one(schema: str) -> int:
        return capture(
            dsn=reader, schema=schema, definition=definition, storage=storage, prefix=f"{schema}/{uuid.uuid4()}",
            keyring=keyring,
        ).stored_bytes  # fmt: skip

    with ThreadPoolExecutor(given["workers"]) as pool:
        return {"stored_bytes": sum(pool.map(one, given["schemas"]))}


def _restore(given: dict[str, Any], storage: LocalStorage, keyring: KeyRing) -> dict[str, Any]:
    done = restore(
        dsn=Dsn(**given["dsn"]), schema=given["schema"], storage=storage, prefix=given["prefix"], keyring=keyring,
        workers=given["workers"],
    )  # fmt: skip
    return {"rows": done.rows}


def _verify(given: dict[str, Any], storage: LocalStorage, keyring: KeyRing) -> dict[str, Any]:
    return {"rows": verify(storage=storage, prefix=given["prefix"], keyring=keyring).rows}


def _definition(given: dict[str, Any]) -> Definition:
    return Definition.decoded(json.dumps(given["definition"]).encode())


if __name__ == "__main__":
    main()
