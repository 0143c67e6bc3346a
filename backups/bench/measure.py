"""Measures ours, pg_dump and pg_restore, and the limits, in turns."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from psycopg import sql

from backups.bench import generate
from backups.bench.place import Place, as_json
from backups.engine.definition import Definition
from tenants.exceptions import ControlPlaneError
from tenants.postgres import Dsn, binary

Tell = Callable[[str], None]
BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """What is measured: megabytes of the big tenant's tables, small tenants, how many of them by pg_dump, rounds."""

    size: int
    tenants: int
    sample: int
    rounds: int
    workers: int


class Samples:
    """Seconds by name of what was measured; and what else was said."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    def add(self, name: str, seconds: float, **facts: Any) -> None:
        """One round."""
        self.seconds.setdefault(name, []).append(seconds)
        self.facts[name] = {**self.facts.get(name, {}), **facts}

    def rows(self) -> list[dict[str, Any]]:
        """Median and spread of each."""
        return [
            {
                "what": name, "median_s": round(statistics.median(found), 3), "min_s": round(min(found), 3),
                "max_s": round(max(found), 3), **self.facts[name],
            }
            for name, found in self.seconds.items()
        ]  # fmt: skip

    def median(self, name: str) -> float | None:
        """Seconds, or None when it was not measured."""
        found = self.seconds.get(name)
        return statistics.median(found) if found else None


def big(place: Place, options: Options, tell: Tell) -> tuple[dict[str, Any], Samples]:
    """One tenant of a size: taken, read back and restored, by us and by the others."""
    template, definition = place.compiled(generate.BIG)
    schema = place.tenant(template)
    tell(f"filling {options.size} MB …")
    with place.admin() as connection:
        generate.fill(connection, schema, options.size)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
        row = connection.execute(
            "SELECT sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint FROM pg_class c"
            " WHERE c.relkind = 'r' AND c.relnamespace = %s::regnamespace",
            [schema],
        ).fetchone()
    facts = {"tables_mb": round((row or (0, 0))[0] / 1e6), "indexes_mb": round((row or (0, 0))[1] / 1e6)}
    samples = Samples()
    zstd = _has_zstd(place)
    for number in range(1, options.rounds + 1):
        tell(f"round {number} of {options.rounds} …")
        _limits(place, schema, options, samples)
        _ours(place, schema, definition, options, samples)
        _pg_dump(place, schema, options, samples, "gzip", [])
        if zstd:
            _pg_dump(place, schema, options, samples, "zstd:1", ["--compress=zstd:1"])
    place.drop(schema)
    return {**facts, "pg_dump_has_zstd": zstd}, samples


def _ours(place: Place, schema: str, definition: Definition, options: Options, samples: Samples) -> None:
    root = place.directory / "ours"
    base = {"root": str(root), "prefix": f"bench/{uuid.uuid4()}", "workers": options.workers}
    taken = _worker(place, base, act="take", schema=schema, definition=asdict(definition))
    samples.add("backup, ours", taken.pop("seconds"), **taken)
    read = _worker(place, base, act="verify")
    samples.add("verify, ours", read.pop("seconds"), peak_mb=read["peak_mb"])
    target = place.roles()
    back = _worker(place, base, act="restore", schema=target)
    samples.add("restore, ours", back.pop("seconds"), peak_mb=back["peak_mb"])
    place.drop(target)
    shutil.rmtree(root)


def _worker(place: Place, base: dict[str, Any], **given: Any) -> dict[str, Any]:
    task = {**base, **given, "key": place.key.hex(), "dsn": as_json(place.dsn), "reader": as_json(place.reader)}
    done = subprocess.run(
        [sys.executable, "-m", "backups.bench.worker"], input=json.dumps(task), capture_output=True, text=True,
        cwd=settings.BASE_DIR, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ControlPlaneError(f"A measurement failed: {done.stderr.strip().splitlines()[-1]}", code="bench_failed")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _timed(dsn: Dsn, command: Sequence[str | Path]) -> float:
    begun = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, **dsn.environment()}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ControlPlaneError(f"{Path(command[0]).name} failed: {done.stderr.decode()[:300]}", code="bench_failed")
    return time.monotonic() - begun


def _pg_dump(place: Place, schema: str, options: Options, samples: Samples, name: str, more: list[str]) -> None:
    """pg_dump -Fd of the schema, and pg_restore of that into an empty database."""
    target, jobs = place.directory / "dump", str(options.workers)
    program = binary("pg_dump", minimum_major=place.major)
    seconds = _timed(place.superuser, [program, "-Fd", "-j", jobs, "-n", schema, *more, "-f", target])
    stored = sum(path.stat().st_size for path in target.iterdir())
    samples.add(f"backup, pg_dump -Fd -j{jobs} {name}", seconds, stored_bytes=stored)
    other = f"{place.dsn.dbname}_r"
    with place.admin() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(other)))
        try:
            program = binary("pg_restore", minimum_major=place.major)
            seconds = _timed(place.superuser, [program, "-j", jobs, "-d", other, target])
            samples.add(f"restore, pg_restore -j{jobs} {name}", seconds)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))
    shutil.rmtree(target)


def _has_zstd(place: Place) -> bool:
    program = binary("pg_dump", minimum_major=place.major)
    try:
        _timed(place.superuser, [program, "--compress=zstd:1", "-Fc", "-n", "cp"])
    except ControlPlaneError:
        return False
    return True


def _limits(place: Place, schema: str, options: Options, samples: Samples) -> None:
    """What nobody can be faster than: the server writing rows to nowhere, and this disk writing."""
    with place.admin() as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace"
                " ORDER BY relpages DESC",
                [schema],
            )
        ]

    def copy(name: str) -> None:
        with place.admin() as connection:
            connection.execute(
                sql.SQL("COPY {} TO '/dev/null' (FORMAT binary)").format(sql.Identifier(schema, name))
            )  # fmt: skip

    begun = time.monotonic()
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(copy, names))
    samples.add("limit: server COPY to null, binary", time.monotonic() - begun)
    path, block = place.directory / "disk", os.urandom(BLOCK)
    begun = time.monotonic()
    with path.open("wb", buffering=0) as file:
        for _ in range(options.size):
            file.write(block)
        os.fsync(file.fileno())
    samples.add(f"limit: writing {options.size} MB to disk", time.monotonic() - begun)
    path.unlink()


def small(place: Place, options: Options, tell: Tell) -> dict[str, Any]:
    """A night of many small tenants: ours for all, pg_dump for a sample of them."""
    template, definition = place.compiled(generate.small_template(place.directory / "small"))
    tell(f"making {options.tenants} small tenants …")
    made = [place.tenant(template) for _ in range(options.tenants)]
    with place.admin() as connection:
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) FROM pg_class").fetchone()
    tell("taking all of them …")
    base = {"root": str(place.directory / "night"), "workers": options.workers}
    night = _worker(place, base, act="nightly", schemas=made, definition=asdict(definition))
    program = binary("pg_dump", minimum_major=place.major)
    step = max(1, len(made) // max(options.sample, 1))
    sample = made[::step][: options.sample]
    tell(f"pg_dump of {len(sample)} …")
    theirs = [_timed(place.superuser, [program, "-Fc", "-n", name]) for name in sample]
    each, other = night["seconds"] / len(made), statistics.median(theirs)
    return {
        "tenants": len(made), "tables_each": generate.SMALL_TABLES, "pg_class_rows": (row or (0,))[0],
        "ours_s": night["seconds"], "ours_ms_each": round(each * 1000, 1),
        "ours_cpu_ms_each": round(night["cpu_s"] / len(made) * 1000, 1), "peak_mb": night["peak_mb"],
        "stored_bytes": night["stored_bytes"], "pg_dump_sample": len(sample),
        "pg_dump_ms_each": round(other * 1000, 1), "times_faster": round(other / each, 1),
    }  # fmt: skip
