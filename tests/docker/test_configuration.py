"""docs/configuration.md names exactly what is read, with its default."""

from __future__ import annotations

import re

from controlplane import checks
from tests.docker.files import PROJECT
from tests.docker.names import compose_names, documented, entrypoint_names, read_in, settings_names

SETTINGS = PROJECT / "controlplane" / "settings.py"
TEXT = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
# Read by a library, from the environment itself.
BY_LIBRARIES = {"PROMETHEUS_MULTIPROC_DIR"}


def test_the_parser_finds_what_it_should() -> None:
    found = read_in(SETTINGS)
    assert {"SECRET_KEY", "DATABASE_URL", "DEBUG", "CONN_MAX_AGE", "API_RATE", "LOG_FORMAT"} <= found
    assert {"POSTGRES_BIN", "CLUSTER_POOL_SIZE"} <= settings_names()
    assert {"PORT", "WORKER_CONCURRENCY", "POOL_TARGET"} <= entrypoint_names()


def test_all_names_are_documented_and_no_others() -> None:
    read = settings_names() | entrypoint_names() | compose_names() | BY_LIBRARIES
    assert documented() == read


def test_each_name_once() -> None:
    names = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", TEXT, re.MULTILINE)
    assert len(names) == len(set(names))


def test_plain_defaults_are_those_of_the_settings() -> None:
    source = SETTINGS.read_text(encoding="utf-8")
    literal = r'env\.(?:str|int|float|choice)\("([A-Z_]+)",.*?default=("[^"]*"|[\d_.]+)\)'
    defaults = {name: text.strip('"') for name, text in re.findall(literal, source)}
    assert len(defaults) > 8
    rows = dict(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|.*\| `([^`]*)` \|$", TEXT, re.MULTILINE))
    both = set(rows) & set(defaults)
    assert {"PUBLIC_URL", "API_RATE", "LOG_LEVEL", "OPERATION_LEASE_SECONDS"} <= both
    assert {name: rows[name] for name in both} == {name: defaults[name] for name in both}


def test_secrets_are_marked() -> None:
    source = SETTINGS.read_text(encoding="utf-8")
    secrets = set(re.findall(r'(?:secret|database)\("([A-Z_]+)"', source)) | {"METRICS_TOKEN"}
    marked = set(re.findall(r"^\| `([A-Z_]+)` \| \*secret\*", TEXT, re.MULTILINE))
    assert marked == secrets


def test_ids_of_checks_are_documented() -> None:
    source = (PROJECT / "controlplane" / "checks.py").read_text(encoding="utf-8")
    assert checks.check_settings.__module__ == "controlplane.checks"
    ids = set(re.findall(r'id="(controlplane\.[EW]\d+)"', source))
    assert ids == set(re.findall(r"^\| `(controlplane\.[EW]\d+)` \|", TEXT, re.MULTILINE))
