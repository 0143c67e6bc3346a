"""entrypoint.sh: it parses, knows its sub-commands and names commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from celery.bin.beat import beat
from celery.bin.worker import worker
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config as GunicornConfig

from tests.docker.files import DOCKER, ENTRYPOINT, services

TEXT = ENTRYPOINT.read_text(encoding="utf-8")
SCRIPTS = [ENTRYPOINT, DOCKER / "make-secrets.sh", DOCKER / "postgres" / "init.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_parse_and_can_be_run(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    assert script.stat().st_mode & 0o111 == 0o111
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in script.read_text(encoding="utf-8")


def test_compose_uses_what_it_knows() -> None:
    known = {"web", "worker", "beat", "reaper", "sealer", "migrate", "bootstrap"}
    for service in services().values():
        if service.get("build", {}).get("target") == "runtime":
            assert set(service["command"]) <= known
    for name in known:
        assert re.search(rf"^{name}\(\) {{$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["web", "worker"], ["migrate", "web"], ["--help"]])
def test_anything_else_is_refused(arguments: list[str]) -> None:
    result = subprocess.run([ENTRYPOINT, *arguments], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert result.returncode == 64
    assert result.stderr.startswith("usage: entrypoint.sh web | worker | beat | reaper | sealer | migrate | bootstrap")


def test_its_commands_of_manage_exist_with_their_options() -> None:
    lines = re.findall(r"python manage\.py (\w+)((?: --[\w-]+)*)", TEXT)
    assert {"check", "migrate_schemas", "bootstrap"} <= {name for name, _ in lines}
    for name, options in lines:
        command = load_command_class(get_commands()[name], name)
        known = command.create_parser("manage.py", name)._option_string_actions
        assert set(options.split()) <= set(known), name


def options_of(program: str) -> set[str]:
    """The long options that entrypoint.sh gives to a program."""
    body = re.search(rf"^{program}\(\) {{\n(.*?)^}}", TEXT, re.MULTILINE | re.DOTALL)
    assert body
    command = "".join(line for line in body[1].splitlines(keepends=True) if not line.lstrip().startswith("#"))
    return set(re.findall(r"(?<= )--[a-z-]+", command))


def test_options_of_gunicorn_exist() -> None:
    given = options_of("web")
    assert {"--bind", "--workers", "--worker-tmp-dir"} <= given
    assert given <= set(GunicornConfig().parser()._option_string_actions)


@pytest.mark.parametrize(("name", "command"), [("worker", worker), ("beat", beat)])
def test_options_of_celery_exist(name: str, command: click.Command) -> None:
    given = options_of(name)
    assert "--loglevel" in given
    assert given <= {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("program", ["web", "worker", "beat", "migrate", "bootstrap"])
def test_a_missing_setting_is_one_line(program: str) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    result = subprocess.run([ENTRYPOINT, program], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert (
        result.stderr.strip()
        == "error: Set SECRET_KEY or SECRET_KEY_FILE in the environment (`make run` does it for you)."
    )
