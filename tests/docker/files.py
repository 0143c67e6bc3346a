"""What lies in docker/, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
ENTRYPOINT = DOCKER / "entrypoint.sh"


def compose() -> dict[str, Any]:
    """compose.yaml, with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: (KEYWORD, rest), comments dropped and continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(part[0].upper(), part[1].strip()) for part in parts]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each named stage; the last one is named '' here."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for keyword, rest in dockerfile():
        if keyword == "FROM":
            current = []
            found[rest.partition(" AS ")[2].strip()] = current
        current.append((keyword, rest))
    return found
