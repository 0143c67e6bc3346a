"""Every command of ours has a test, and help that teaches."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tenants.management.base import ControlPlaneCommand

TESTS = Path(__file__).resolve().parents[1]
OURS = {
    name: app
    for name, app in get_commands().items()
    if app in ("tenants", "provisioning", "backups", "monitoring", "controlplane")
}
LIKE_OURS = {name for name, app in OURS.items() if isinstance(load_command_class(app, name), ControlPlaneCommand)}


def _words(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_is_called_by_a_test():
    """Its name stands in a test, alone or as the last word of a command line."""
    files = (file for file in TESTS.rglob("test_*.py") if file != Path(__file__))
    called = {word for file in files for text in _words(file) for word in text.split()[-2:]}
    assert sorted(set(OURS) - called) == []


def test_ours_come_before_those_of_django_tenants():
    """django-tenants has commands of the same names, which know nothing of operations and audit."""
    assert {get_commands()[name] for name in ("create_tenant", "delete_tenant")} == {"provisioning"}


@pytest.mark.parametrize("name", sorted(LIKE_OURS))
def test_help_teaches(name: str):
    """A description, examples that name the command, the meaning of exit codes, `--json`, and no line that is lost."""
    text = load_command_class(OURS[name], name).create_parser("manage.py", name).format_help()
    description, _, rest = text.partition("options:")
    assert len(description.partition("\n\n")[2].strip()) > 60
    assert f"  manage.py {name}" in rest.partition("examples:")[2]
    assert "--json" in rest
    assert "exit codes:\n  0  done\n" in rest


def _typed(name: str) -> Iterator[list[str]]:
    """The words that follow the command in each line of its examples, as a shell would pass them on."""
    examples = load_command_class(OURS[name], name).examples.replace("\\\n", " ")
    for line in re.findall(rf"manage\.py {name}\b(.*)", examples):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        yield list(itertools.takewhile(lambda word: not set(word) <= set("|;&()<>"), words))


@pytest.mark.parametrize("name", sorted(LIKE_OURS))
def test_examples_are_understood(name: str):
    """What the help says to type is taken by the command's own parser."""
    command = load_command_class(OURS[name], name)
    whole = [words for words in _typed(name) if "…" not in words]  # which stands for what the line before has
    assert whole
    for words in whole:
        command.create_parser("manage.py", name).parse_args(words)


def test_the_help_is_found_to_be_long_enough_for_all():
    """The parametrised test above is not empty."""
    assert len(LIKE_OURS) >= 22
