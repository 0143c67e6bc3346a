"""The Dockerfile, linted as text."""

from __future__ import annotations

import re

import pytest

from tests.docker.files import DOCKER, dockerfile, stages

IMAGES = {"runtime", "pgbouncer"}


def test_it_has_stages_and_what_runs_comes_last() -> None:
    assert set(stages()) == {"postgres", "requirements", "runtime", "pgbouncer", ""}
    assert stages()[""] == [("FROM", "runtime")]


def test_every_base_is_pinned() -> None:
    arguments = dict(rest.split("=", 1) for keyword, rest in dockerfile() if keyword == "ARG")
    for keyword, rest in dockerfile():
        if keyword == "FROM":
            base = rest.split()[0]
            name = re.fullmatch(r"\$\{(\w+)\}", base)
            image = arguments[name[1]] if name else base
            assert image in stages() or re.match(r"[a-z]+:.*\d+[.\d]*", image), image
            assert "latest" not in image


@pytest.mark.parametrize("stage", sorted(IMAGES))
def test_what_runs_is_no_root_and_stops_and_is_watched(stage: str) -> None:
    words = dict(stages()[stage])
    user = words["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert words["STOPSIGNAL"] in ("SIGTERM", "SIGINT")
    assert re.search(r'CMD \["', words["HEALTHCHECK"])
    assert words["ENTRYPOINT"].startswith('["')
    assert "SHELL" not in words


def test_users_are_those_of_compose() -> None:
    from tests.docker.files import services

    for name in ("web", "worker", "beat", "reaper", "sealer", "migrate"):
        assert services()[name]["user"] == dict(stages()["runtime"])["USER"]
    assert services()["pgbouncer"]["user"] == dict(stages()["pgbouncer"])["USER"]


def test_requirements_are_locked_with_hashes() -> None:
    install = next(rest for keyword, rest in stages()["requirements"] if keyword == "RUN")
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "requirements.txt" in install


def test_no_tools_for_building_reach_what_runs() -> None:
    text = " ".join(rest for stage in IMAGES for _, rest in stages()[stage])
    assert not re.search(r"\b(gcc|g\+\+|make|build-essential|[a-z0-9]+-dev|git|curl|wget)\b", text)
    assert "pip uninstall" in text
    assert "pip install" not in text


def test_packages_leave_no_lists_behind() -> None:
    for keyword, rest in dockerfile():
        if keyword == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest


def test_no_secret_stays_in_a_layer() -> None:
    for keyword, rest in dockerfile():
        if keyword in ("ENV", "ARG"):
            assert not re.search(r"SECRET|PASSWORD|TOKEN|FERNET|_KEYS?\b|_URL", rest), rest
    collect = next(rest for keyword, rest in dockerfile() if "collectstatic" in rest)
    for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS"):
        assert re.search(rf'{name}="(\$\(random\))+"', collect)


def test_the_vulnerable_pooler_is_refused() -> None:
    arguments = dict(rest.split("=", 1) for keyword, rest in stages()["pgbouncer"] if keyword == "ARG" and "=" in rest)
    assert tuple(map(int, arguments["PGBOUNCER_MINIMUM"].split("."))) >= (1, 26, 1)
    install = next(rest for keyword, rest in stages()["pgbouncer"] if keyword == "RUN")
    assert 'dpkg --compare-versions "$version" ge "$PGBOUNCER_MINIMUM"' in install
    assert "exit 1" in install


def test_the_build_sees_an_allow_list() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert "controlplane/embedded" in rules
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    for path in allowed:
        assert (DOCKER.parent / path).exists(), path
    assert not [path for path in allowed if "secret" in path or ".env" in path or path == "docker"]
