"""Counters of many processes on one page: each process writes to files of its own, whoever is asked adds them up.

Prometheus' client does that by process id. Here a process has a name of its own for life, since containers that share
the directory share ids too; it holds a lock while it lives, and what the dead have counted is folded into one file:
a sum must never fall because somebody has gone. Knows nothing of Django: settings import it before anything counts.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger(__name__)
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
ADDED_UP = ("counter", "histogram", "summary")
FOLDED = "folded"  # stands where the name of a process stands
JOURNAL = "fold.json"


class _Me:
    """This process: found anew after a fork."""

    pid = 0
    name = ""
    alive = -1


def prepare() -> None:
    """Settle where this process counts. Called once, before the first counter is made.

    A directory that cannot be written costs the counts of other processes, not this one's life.
    """
    disable_created_metrics()
    directory = os.environ.get(VARIABLE)
    try:
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            _become(Path(directory))
            values.ValueClass = values.MultiProcessValue(identifier)
            return
    except OSError as error:
        log.warning("metrics.not_shared: %s cannot be written (%s)", directory, error.strerror)
    os.environ.pop(VARIABLE, None)
    values.ValueClass = values.MutexValue


def directory() -> Path | None:
    """Where the processes of this host share their counters; None when each counts for itself."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def identifier() -> str:
    """The name of this process, other than that of any before it."""
    if _Me.pid != os.getpid():
        _become(Path(os.environ[VARIABLE]))
    return _Me.name


def _become(place: Path) -> None:
    """Take a name, and hold its lock for life. It appears under its name only when it is held."""
    if _Me.alive >= 0:
        with suppress(OSError):
            os.close(_Me.alive)  # our copy of a parent's; the parent still holds its own
    host = re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())
    _Me.pid, _Me.name = os.getpid(), f"{host}-{os.getpid()}-{time.time_ns():x}"
    making = place / f"{_Me.name}.making"
    _Me.alive = os.open(making, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(_Me.alive, fcntl.LOCK_EX)
    making.rename(place / f"{_Me.name}.alive")


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One at a time reads all files, or folds some."""
    with (place / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_alive(place: Path, name: str) -> bool:
    try:
        with (place / f"{name}.alive").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def collected() -> list[Metric]:
    """What all processes of this host have counted together."""
    place = directory()
    if place is None:
        return []
    with _locked(place):
        _fold(place)
        return list(MultiProcessCollector(CollectorRegistry(), str(place)).collect())


def fold() -> None:
    """Add what dead processes have counted to one file, and take theirs away."""
    place = directory()
    if place is not None and place.is_dir():
        with _locked(place):
            _fold(place)


def _fold(place: Path) -> None:
    """By a journal: whoever is killed in between leaves nothing counted twice, nor lost."""
    _carry_out(place)
    dead: dict[str, list[Path]] = defaultdict(list)
    known: dict[str, bool] = {}
    for path in place.glob("*.db"):
        kind, _, name = path.stem.rpartition("_")
        if name != FOLDED and not known.setdefault(name, _is_alive(place, name)):
            dead[kind].append(path)
    gone = [path for paths in dead.values() for path in paths]
    gone += [place / f"{name}.alive" for name, lives in known.items() if not lives]
    if not gone:
        return
    made = [_added_up(place, kind, paths) for kind, paths in dead.items() if kind in ADDED_UP]
    new = place / f"{JOURNAL}.new"
    new.write_text(json.dumps({"made": made, "gone": [path.name for path in gone]}), encoding="utf-8")
    new.rename(place / JOURNAL)
    _carry_out(place)


def _added_up(place: Path, kind: str, paths: Iterable[Path]) -> str:
    """A new file with the sums of these and of what was folded before."""
    sums: dict[str, float] = defaultdict(float)
    before = place / f"{kind}_{FOLDED}.db"
    for path in (before, *paths):
        if path.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
                sums[key] += value
    new = place / f"{kind}_{FOLDED}.new"
    new.unlink(missing_ok=True)
    file = MmapedDict(str(new))
    for key, value in sums.items():
        file.write_value(key, value, 0.0)
    file.close()
    return new.name


def _carry_out(place: Path) -> None:
    journal = place / JOURNAL
    if not journal.exists():
        return
    todo = json.loads(journal.read_text(encoding="utf-8"))
    for name in todo["made"]:
        with suppress(FileNotFoundError):  # done before
            (place / name).rename((place / name).with_suffix(".db"))
    for name in todo["gone"]:
        (place / name).unlink(missing_ok=True)
    journal.unlink()
