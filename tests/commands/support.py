"""Running commands: in this process for their results, as processes for their exit codes and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from tenants.exceptions import ControlPlaneError
from tenants.management.errors import CommandFailed
from tests.support.databases import PROJECT


def call(name: str, *arguments: str) -> dict[str, Any]:
    """Run a command here and return its JSON document."""
    out, err = StringIO(), StringIO()
    call_command(name, *arguments, "--json", stdout=out, stderr=err)
    assert err.getvalue() == ""
    return json.loads(out.getvalue())


def text(name: str, *arguments: str) -> str:
    """Run a command here and return what people see."""
    out = StringIO()
    call_command(name, *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def refusal(name: str, *arguments: str) -> tuple[int, ControlPlaneError]:
    """Run a command here that must fail; its exit code and our error."""
    out = StringIO()
    with pytest.raises(CommandFailed) as caught:
        call_command(name, *arguments, "--json", stdout=out, stderr=StringIO())
    return caught.value.returncode, caught.value.error


@dataclass
class Ran:
    """A command that was run as a process."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Its stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """Its stderr, which must be one JSON document and nothing else."""
        return json.loads(self.err)


def manage(*arguments: str, stdin: str = "", timeout: float = 120, **environment: str) -> Ran:
    """Run `manage.py …` as people and scripts do, with nobody at the terminal."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "controlplane.settings", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Traceback" not in done.stdout, done.stdout
    return Ran(done.returncode, done.stdout, done.stderr)
