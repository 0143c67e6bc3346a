"""compose.yaml says what it should, read as text: no Docker is needed to see most mistakes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from controlplane.embedded.postgres import SETTINGS
from tenants.pooling import main_text
from tests.docker.files import DOCKER, compose, services, stages
from tests.docker.names import compose_names, documented

MONITORING = {"prometheus", "alertmanager", "grafana"}
EXPECTED = {"postgres", "redis", "pgbouncer", "migrate", "web", "worker", "beat", "reaper", "sealer"} | MONITORING
OURS = {"migrate", "web", "worker", "beat", "reaper", "sealer"}
ONE_SHOT = {"migrate"}


def test_the_services() -> None:
    assert set(services()) == EXPECTED
    profiles = {name: service["profiles"] for name, service in services().items() if "profiles" in service}
    assert profiles == {name: ["monitoring"] for name in MONITORING}
    for name in EXPECTED - MONITORING:
        assert not MONITORING & services()[name].get("depends_on", {}).keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_service_is_watched_and_restarted(name: str) -> None:
    service = services()[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["healthcheck"]["retries"] > 0


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_service_is_confined(name: str) -> None:
    service = services()[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_images_are_pinned(name: str) -> None:
    image = re.sub(r"\$\{CONTROLPLANE_VERSION:-([^}]+)\}", r"\1", services()[name]["image"])
    tag = image.rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag), image
    assert "latest" not in image


def test_the_server_and_its_client_are_of_one_version() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG POSTGRES_IMAGE={services()['postgres']['image']}\n" in text
    major = re.match(r"postgres:(\d+)", services()["postgres"]["image"])
    assert major
    assert text.count(f"ARG POSTGRES_MAJOR={major[1]}\n") == text.count("ARG POSTGRES_MAJOR=") == 2


def test_only_web_pooler_and_grafana_are_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {
        "web": ["${WEB_BIND:-127.0.0.1:8000}:8000"],
        "pgbouncer": ["${POOLER_BIND:-127.0.0.1:6432}:6432"],
        "grafana": ["${GRAFANA_BIND:-127.0.0.1:3000}:3000"],
    }


def test_networks() -> None:
    assert compose()["networks"]["backend"] == {"internal": True}
    members = {name: set(service["networks"]) for name, service in services().items()}
    assert {name for name, networks in members.items() if "tenants" in networks} == {"pgbouncer"}
    assert all("backend" in networks for networks in members.values())
    for name in ("postgres", "redis", "migrate", "beat", "prometheus"):
        assert members[name] == {"backend"}


def test_what_waits_for_what() -> None:
    for name in ("web", "worker", "beat", "reaper", "sealer"):
        assert services()[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
    assert services()["migrate"]["depends_on"].keys() == {"postgres", "redis", "pgbouncer"}
    for service in services().values():
        for other, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert healthy == (other not in ONE_SHOT)


def test_secrets_come_as_files_and_are_made(tmp_path: Path) -> None:
    subprocess.run([DOCKER / "make-secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    declared = compose()["secrets"]
    used = {name for service in services().values() for name in service.get("secrets", [])}
    assert used == set(declared)
    assert {name: {"file": f"./secrets/{name}"} for name in declared} == declared
    assert set(declared) <= made
    for service in services().values():
        for value in service.get("environment", {}).values():
            if str(value).startswith("/run/secrets/"):
                assert str(value).removeprefix("/run/secrets/") in service["secrets"]


def test_the_superusers_password_is_with_nothing_that_lasts() -> None:
    """The server's own, for its first start, and the step that closes it and ends."""
    for secret, holders in {"superuser_url": {"migrate"}, "postgres_password": {"postgres"}}.items():
        assert {name for name, service in services().items() if secret in service.get("secrets", [])} == holders
    assert services()["migrate"]["restart"] == "no"
    levels = services()["migrate"]["environment"]["ISOLATION_LEVEL"]
    assert levels == "${ISOLATION_LEVEL:-lockdown}"


def test_no_secret_is_written_down() -> None:
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|TOKEN|DATABASE_URL|REDIS_URL", name):
                assert name.endswith("_FILE"), name
                assert str(value).startswith("/run/secrets/"), name
    for path in (DOCKER / "compose.yaml", DOCKER / ".env.example", DOCKER / "Dockerfile"):
        assert not re.search(r"://[^\s/@]*:[^\s/@$]+@", path.read_text(encoding="utf-8")), path


def test_the_poolers_configuration_is_the_one_there_is() -> None:
    """Made anew: manage.py pooler_config --listen-addr 0.0.0.0 --auth-file … --included …"""
    wanted = main_text(
        listen_addr="0.0.0.0",
        listen_port=6432,
        auth_file="/run/secrets/pgbouncer_userlist",
        included="/var/lib/pgbouncer/tenants.ini",
    )
    assert (DOCKER / "pgbouncer" / "pgbouncer.ini").read_text(encoding="utf-8") == wanted
    environment = services()["worker"]["environment"]
    assert environment["POOLER_CONFIG"] == "/var/lib/pgbouncer/tenants.ini"
    for name in ("pgbouncer", "worker", "migrate"):
        assert "pooler-config:/var/lib/pgbouncer" in services()[name]["volumes"]


def test_all_that_runs_shares_its_counters() -> None:
    for name in OURS - {"migrate"}:
        service = services()[name]
        assert "metrics:/var/lib/controlplane/metrics" in service["volumes"], name
        assert service.get("environment", {}).get("PROMETHEUS_MULTIPROC_DIR") == "/var/lib/controlplane/metrics"
    # The volume gets the rights of the directory in the image.
    made = re.search(r"install -d -o 10001 -g 10001 -m 0700 (.*?)\n\n", (DOCKER / "Dockerfile").read_text(), re.DOTALL)
    assert made
    assert "/var/lib/controlplane/metrics" in made[1].split()


def test_the_server_is_set_as_that_of_make_run() -> None:
    options = dict(word.removeprefix("--").split("=", 1) for word in services()["postgres"]["command"][1:])
    shared = set(options) & set(SETTINGS)
    assert {"shared_preload_libraries", "max_connections", "max_locks_per_transaction", "timezone"} <= shared
    # A container's log is a ring of hours; that of `make run` one file, which its supervisor cuts.
    shared -= {"log_filename", "log_rotation_age"}
    assert {name: options[name] for name in shared} == {name: SETTINGS[name] for name in shared}


def test_names_in_compose_mean_something() -> None:
    assert compose_names() <= documented()
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    offered = dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE))
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert offered == dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))


def test_prometheus_finds_what_it_asks_and_may() -> None:
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    web = services()["web"]["environment"]
    assert web["ALLOWED_HOSTS"].split(",")[-1] == "web"
    for job in config["scrape_configs"]:
        assert job["static_configs"] == [{"targets": ["web:8000"]}]
        assert job["authorization"]["credentials_file"] == web["METRICS_TOKEN_FILE"] == "/run/secrets/metrics_token"
    for name in ("web", "prometheus"):
        assert "metrics_token" in services()[name]["secrets"]
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    source = DOCKER / "grafana" / "provisioning" / "datasources" / "controlplane.yml"
    [found] = yaml.safe_load(source.read_text(encoding="utf-8"))["datasources"]
    assert found["url"] == "http://prometheus:9090"


def test_mounted_files_exist() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).is_file(), source
            else:
                assert source in compose()["volumes"]


def test_built_targets_exist() -> None:
    for service in services().values():
        if build := service.get("build"):
            assert build["target"] in stages()
    assert {name for name, service in services().items() if service.get("build", {}).get("target") == "runtime"} == OURS
