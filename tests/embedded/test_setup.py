"""The scripts behind make: what is missing on a machine is one clear line."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def set_up(checkout: Path, **env: str) -> str:
    """The one line with which setup-venv refuses."""
    result = subprocess.run(
        ["/bin/bash", "scripts/setup-venv", ".venv/.stamp-run-x", "requirements.txt"],
        cwd=checkout, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 1
    assert not (checkout / ".venv").exists()
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_an_old_python_is_named(checkout: Path) -> None:
    program(checkout / "bin" / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    (checkout / "bin" / "dirname").symlink_to("/usr/bin/dirname")
    line = set_up(checkout, PATH=str(checkout / "bin"))
    assert "Python 3.9.2 is not supported" in line
    assert "3.11" in line


def test_no_python_at_all(checkout: Path) -> None:
    (checkout / "bin" / "dirname").symlink_to("/usr/bin/dirname")
    assert "python3 is missing" in set_up(checkout, PATH=str(checkout / "bin"))


def test_a_named_python_must_fit(checkout: Path) -> None:
    assert "PYTHON=/bin/false" in set_up(checkout, PATH="/usr/bin:/bin", PYTHON="/bin/false")


def test_missing_system_packages_are_named_to_who_may_not_install_them(checkout: Path) -> None:
    for name in ("dirname", "bash"):
        (checkout / "bin" / name).symlink_to(f"/usr/bin/{name}")
    program(checkout / "bin" / "apt-get", "exit 9")
    program(checkout / "bin" / "id", "echo 1000")
    result = subprocess.run(
        ["/bin/bash", "scripts/system-packages"],
        cwd=checkout,
        env={"PATH": str(checkout / "bin"), "POSTGRES15_BIN": str(checkout)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "the packages postgresql-15 " in result.stderr
    assert " prometheus prometheus-alertmanager chromium" in result.stderr
