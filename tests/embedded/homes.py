"""Directories for real servers: short, reachable for the service account, and what runs in them."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psutil


def processes_of(directory: Path) -> list[psutil.Process]:
    """Processes whose command line or working directory lies in `directory`."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(directory) in " ".join(process.cmdline()) or process.cwd().startswith(str(directory)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return [process for process in found if process.pid != os.getpid()]


def wait_until_none(directory: Path, seconds: float) -> list[psutil.Process]:
    """Wait until no process works in `directory`; returns those that still do."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(directory)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def new_home() -> Path:
    path = Path(tempfile.mkdtemp(prefix="cp-test-", dir="/tmp"))
    path.chmod(0o711)
    return path


def remove_home(path: Path) -> None:
    for process in processes_of(path):
        process.send_signal(signal.SIGQUIT)
    wait_until_none(path, 5)
    shutil.rmtree(path, ignore_errors=True)
