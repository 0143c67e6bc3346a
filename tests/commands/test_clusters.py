"""Registering and checking clusters by command: a second database of the same server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tenants.models import AuditEvent, Cluster
from tests.commands.support import call, manage, refusal, text
from tests.support.databases import maintenance
from tests.support.environment import PREFIX
from tests.support.fixtures import fresh_slug


@pytest.fixture
def place(cluster: Any) -> Iterator[dict[str, str]]:
    """The address of an empty database, and a name for it."""
    dbname = f"{PREFIX}_{fresh_slug('other').replace('-', '_')}"
    own = cluster.dsn()
    name = fresh_slug("cluster")
    with maintenance() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(dbname)))
    yield {"name": name, "host": own.host, "port": str(own.port), "dbname": dbname, "username": own.user,
           "password": own.password}  # fmt: skip
    Cluster.objects.filter(name=name).delete()
    with maintenance() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dbname)))


def arguments(place: dict[str, str]) -> list[str]:
    given = [word for option in ("host", "port", "dbname", "username") for word in (f"--{option}", place[option])]
    return [place["name"], *given, "--pool-target", "0", "--max-parallel", "3"]


def test_register_cluster_with_a_password_file_and_check_clusters(place: dict[str, str], tmp_path: Any) -> None:
    (tmp_path / "secret").write_text(place["password"] + "\n")
    made = call("register_cluster", *arguments(place), "--password-file", str(tmp_path / "secret"))
    row = Cluster.objects.get(name=place["name"])
    assert (made["dbname"], made["pool_target"], made["max_parallel"]) == (place["dbname"], 0, 3)
    assert made["server_version"] == row.server_version != ""
    assert place["password"] not in row.secret + str(made)
    assert row.dsn().password == place["password"]
    assert AuditEvent.objects.filter(action="cluster.register", target_id=row.pk).exists()
    with psycopg.connect(row.dsn().conninfo()) as session:
        assert session.execute("SELECT to_regnamespace('extensions') IS NOT NULL").fetchone() == (True,)
    assert refusal("register_cluster", *arguments(place), "--password-file", str(tmp_path / "secret"))[0] == 3
    (checked,) = call("check_clusters", place["name"])["clusters"]
    assert (checked["ok"], checked["error"]) == (True, None)
    assert "well" in text("check_clusters", place["name"])  # others may have left clusters that are away


def test_check_clusters_ends_with_5_and_still_tells_of_all(place: dict[str, str], tmp_path: Any) -> None:
    (tmp_path / "secret").write_text(place["password"])
    call("register_cluster", *arguments(place), "--password-file", str(tmp_path / "secret"))
    Cluster.objects.filter(name=place["name"]).update(port=1)
    ran = manage("check_clusters", "default", place["name"], "--json")
    assert ran.code == 5
    assert [row["ok"] for row in ran.document["clusters"]] == [True, False]
    assert ran.problem["detail"].endswith(f"{place['name']}.")
    assert Cluster.objects.get(name=place["name"]).last_error
    assert refusal("check_clusters", "none-such")[0] == 4


@pytest.mark.parametrize("way", ["stdin", "environment"])
def test_the_password_is_read_from_where_nobody_sees_it(place: dict[str, str], way: str) -> None:
    if way == "stdin":
        ran = manage("register_cluster", *arguments(place), "--password-file", "-", "--json", stdin=place["password"])
    else:
        ran = manage("register_cluster", *arguments(place), "--json", CLUSTER_PASSWORD=place["password"])
    assert ran.code == 0, ran.err
    assert place["password"] not in ran.out + ran.err
    assert Cluster.objects.filter(name=place["name"]).exists()


def test_register_cluster_refuses_and_keeps_nothing(place: dict[str, str], monkeypatch: Any) -> None:
    missing = manage("register_cluster", *arguments(place), "--json")
    assert (missing.code, missing.problem["field"]) == (2, "password")
    assert refusal("register_cluster", *arguments(place), "--password-file", "/no/such/file")[0] == 2
    monkeypatch.setenv("CLUSTER_PASSWORD", "sesame-wrong")
    code, error = refusal("register_cluster", *arguments(place))
    assert (code, error.code) == (5, "cluster_unavailable")
    assert "sesame-wrong" not in str(error)
    monkeypatch.setenv("CLUSTER_PASSWORD", place["password"])
    bad = [place["name"] + " !", *arguments(place)[1:]]
    assert refusal("register_cluster", *bad)[0] == 2
    assert not Cluster.objects.filter(name__startswith=place["name"]).exists()
