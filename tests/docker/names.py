"""Names of environment variables: where they are read, where they are documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docker.files import DOCKER, ENTRYPOINT, PROJECT, services

APPS = ("controlplane", "tenants", "provisioning", "backups", "monitoring")
READERS = ("secret", "database")
# Of the system, not of ours.
SYSTEM = {"PATH", "DJANGO_SETTINGS_MODULE"}


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(what is called or subscripted, its first argument) of everything that looks like reading a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            yield ast.unparse(node.func), node.args[0]
        elif isinstance(node, ast.Subscript):
            yield ast.unparse(node.value), node.slice


def _reads(function: str) -> bool:
    environ = function in ("os.environ", "os.environ.get", "os.getenv", "environ.get")
    return environ or function in READERS or re.fullmatch(r"env\.\w+", function) is not None


def read_in(path: Path) -> set[str]:
    """Names of the environment variables a Python file reads, by a literal or by a constant of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names = set()
    for function, argument in _calls(tree):
        value = constants.get(argument.id) if isinstance(argument, ast.Name) else getattr(argument, "value", None)
        if _reads(function) and isinstance(value, str):
            names.add(value.removesuffix("_FILE"))
    return names - SYSTEM


def settings_names() -> set[str]:
    """All that the applications read."""
    files = [path for app in APPS for path in (PROJECT / app).rglob("*.py") if "embedded" not in path.parts]
    return set().union(*(read_in(path) for path in files))


def entrypoint_names() -> set[str]:
    """All that entrypoint.sh reads."""
    return set(re.findall(r"\$\{([A-Z_]+):?-", ENTRYPOINT.read_text(encoding="utf-8")))


def compose_only_names() -> set[str]:
    """What compose.yaml takes from docker/.env."""
    return set(re.findall(r"\$\{([A-Z_]+):-", (DOCKER / "compose.yaml").read_text(encoding="utf-8")))


def compose_names() -> set[str]:
    """Names our own services get, and those compose.yaml reads."""
    given = {
        name.removesuffix("_FILE")
        for service in services().values()
        if service.get("build", {}).get("target") == "runtime"
        for name in service["environment"]
    }
    return given | compose_only_names()


def documented() -> set[str]:
    """The first column of each table of docs/configuration.md (ids of checks are no names)."""
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", text, re.MULTILINE))
