"""Runbooks are followed at night: what they say to type exists, and their statements run on both servers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection, transaction
from django.urls import resolve

from tests.isolation.arena import SERVERS, superuser

PROJECT = Path(__file__).resolve().parents[2]
PAGES = {path.stem: path for path in sorted((PROJECT / "docs" / "runbooks").glob("*.md"))}
# How to do a thing; all others are about an alert.
PROCEDURES = {"point-in-time", "registry-lost", "restore"}
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "When it comes back"]
OURS = {"backups", "controlplane", "monitoring", "provisioning", "tenants"}
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
COMMANDS = {name for name, app in get_commands().items() if app in OURS}


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(PAGES[page].read_text(encoding="utf-8")) if kind == language]


def typed(page: str) -> list[str]:
    """Every command of this product that the page says to type."""
    text = PAGES[page].read_text(encoding="utf-8")
    lines = [line.strip() for block in blocks(page, "sh") for line in block.splitlines()]
    lines += [" ".join(found.split()) for found in INLINE.findall(FENCE.sub("", text))]
    said = [line for line in lines if line.startswith("manage.py ") and line != "manage.py dbshell"]
    return said + [f"manage.py {line}" for line in lines if " --" in line and line.split()[0] in COMMANDS]


def wrong(line: str) -> str:
    """What of a command line does not exist; empty when all of it does."""
    _, name, *words = shlex.split(line.replace("…", "x"), comments=True)
    if name not in get_commands():
        return f"no command {name}"
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    options = {option: action for action in parser._actions for option in action.option_strings}
    for number, word in enumerate(words):
        option, _, value = word.partition("=")
        if not option.startswith("--"):
            continue
        if option not in options:
            return f"{name} has no {option}"
        choices = options[option].choices
        value = value or next(iter(words[number + 1 :]), "")
        if choices and value not in choices and value.islower():
            return f"{name} {option} does not take {value}"
    return ""


def test_a_command_that_does_not_exist_is_found() -> None:
    assert wrong("manage.py show_everything") == "no command show_everything"
    assert wrong("manage.py list_backups --all") == "list_backups has no --all"
    assert wrong("manage.py list_backups --state fine") == "list_backups --state does not take fine"
    assert wrong('manage.py list_backups --state failed --tenant SLUG # "why"') == ""


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_a_page_says_to_type_exists(page: str) -> None:
    assert typed(page)
    assert [found for line in typed(page) if (found := wrong(line))] == []


@pytest.mark.parametrize("page", sorted(PAGES.keys() - PROCEDURES))
def test_a_page_has_what_is_needed_at_night(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert re.findall(r"^## (.+)$", FENCE.sub("", text), re.M) == SECTIONS
    assert re.search(r"^Rules?: `", text, re.M)
    parts = re.split(r"^## .+$", text, flags=re.M)[1:]
    assert all(len(part.split()) > 10 for part in parts)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = (PAGES[page].parent / path).resolve()
        assert linked.is_file(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]
    for path in re.findall(r"`(/admin/[a-z_/]+/)`", text):
        resolve(path)


STATEMENTS = [(page, text) for page in PAGES for text in blocks(page, "sql")]


@pytest.mark.parametrize(("page", "statement"), STATEMENTS)
def test_its_statements_run(page: str, statement: str) -> None:
    found = re.fullmatch(r"\s*-- (in the registry|on the server)[^\n]*\n(.*)", statement, re.S)
    assert found
    where, text = found.groups()
    assert text.lstrip().startswith("SELECT")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute(text)
    if where == "in the registry" or SERVERS[15].missing:
        return
    with superuser(SERVERS[15], "postgres") as session, session.transaction(force_rollback=True):
        session.execute("SET TRANSACTION READ ONLY")
        session.execute(text.encode())
