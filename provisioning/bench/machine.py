"""What the measurements were made on, and how much of it each program used."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from psycopg import Connection

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_connections")
OURSELVES, POSTGRES = "bench", "postgres"


def facts(connection: Connection[Any]) -> dict[str, Any]:
    """Cores, versions and the server's settings that matter for speed."""
    query = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)"
    found = dict(connection.execute(query, [["server_version", *SERVER_SETTINGS]]).fetchall())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "django_tenants": version("django-tenants"),
        "postgresql": found.pop("server_version"),
        **{name: found[name] for name in SERVER_SETTINGS},
    }


def postmaster(connection: Connection[Any]) -> int | None:
    """The server's process id where it runs on this machine, else None."""
    try:
        status = Path(f"/proc/{connection.info.backend_pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["PPid"]) if fields["Name"].startswith("postgres") else None


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds of a process, those of its ended children included; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), sum(map(int, fields[11:15])) / TICKS


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far of each root process and everything below it that is no root itself."""
    stats = {int(p.name): found for p in Path("/proc").iterdir() if p.name.isdigit() and (found := _stat(int(p.name)))}
    owner = {pid: name for name, pid in roots.items()}
    used = dict.fromkeys(roots, 0.0)
    for pid, (_, seconds) in stats.items():
        above: int | None = pid
        while above is not None and above not in owner:
            above = stats[above][0] if above in stats else None
        if above is not None:
            used[owner[above]] += seconds
    return used


class CpuMeter:
    """CPU seconds that named processes use from `begin()`, or from `__init__`, to `used()`."""

    def __init__(self, roots: Mapping[str, int | None]) -> None:
        """`roots` are process ids by name; None for those that are elsewhere."""
        self._roots = {name: pid for name, pid in roots.items() if pid is not None} | {OURSELVES: os.getpid()}
        self.begin()

    def begin(self) -> None:
        """What was used until now does not count."""
        self._before = cpu_seconds(self._roots)

    def used(self) -> dict[str, float]:
        """Seconds by name, to the hundredth."""
        now = cpu_seconds(self._roots)
        return {name: round(now[name] - before, 2) for name, before in self._before.items()}
