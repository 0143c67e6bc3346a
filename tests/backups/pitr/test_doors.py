"""Commands and REST around points in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backups.models import ClusterArchive
from tenants.models import Operation, Tenant
from tests.admin.conftest import browse as browse
from tests.admin.conftest import groups as groups
from tests.admin.conftest import person as person
from tests.admin.support import text_of, url
from tests.backups.pitr.support import Place, moment, rows_of, work
from tests.backups.support import add_customers
from tests.commands.support import call, refusal, text
from tests.support.fixtures import fresh_slug


def test_an_archive_is_set_up_again_backed_up_and_shown(place: Place, tmp_path: Path) -> None:
    assert place.first is not None
    assert place.first.restart, "archive_mode was off at first"
    file = tmp_path / "url"
    file.write_text(place.server.superuser_url)
    name, directory = place.cluster.name, str(place.root / "archive")
    again = call(
        "archive_cluster", name, "--directory", directory, "--superuser-url-file", str(file), "--keep-full", "3"
    )
    assert (again["state"], again["keep_full"], again["todo"], again["restart"]) == ("active", 3, [], False)
    _, error = refusal("archive_cluster", name, "--directory", directory, "--keep-full", "0")
    assert error.code == "invalid"
    taken = call("base_backup", name, "--kind", "diff", "--here")
    assert taken["operation"]["state"] == "succeeded"
    shown = call("show_archive", name)
    assert shown["base_backups"][-1]["kind"] == "diff"
    assert shown["earliest"] < shown["latest"]
    assert taken["archive"]["base_backups"][-1]["label"] in text("show_archive", name, "--cached")
    configuration = Path(directory) / "pgbackrest.conf"
    assert configuration.stat().st_mode & 0o077 == 0
    with psycopg.connect(place.server.superuser_url) as session:
        assert session.execute("SHOW full_page_writes").fetchone() == ("on",)


def test_without_a_superuser_the_command_says_what_one_has_to_do(
    place: Place, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLUSTER_SUPERUSER_URL", raising=False)
    directory = str(place.root / "archive")
    told = call("archive_cluster", place.cluster.name, "--directory", directory)
    assert (told["state"], told["todo"]) == ("active", []), "all is there already"
    _, error = refusal("archive_cluster", place.cluster.name, "--directory", str(place.root / "other"))
    assert error.code == "archives_already"
    told = call("archive_cluster", cluster.name, "--directory", str(place.root / "told"))
    try:
        assert (told["state"], told["restart"]) == ("restart_needed", True)
        assert any(statement.startswith("CREATE ROLE") for statement in told["todo"])
        assert any("archive_command" in statement for statement in told["todo"])
        _, error = refusal("base_backup", cluster.name)
        assert "Restart its server" in (error.hint or "")
    finally:
        ClusterArchive.objects.filter(cluster=cluster).delete()


def test_a_tenant_is_recovered_by_command(place: Place, tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    was, then = rows_of(mine.connection), moment()
    add_customers(mine.connection, 1)
    to = then.isoformat(sep=" ")
    kept = call("restore_tenant", mine.slug, "--to", to, "--as-backup", "--here")
    assert (kept["backup"]["origin"], kept["restore"]) == ("point_in_time", None)
    assert len(rows_of(mine.connection)) == len(was) + 1
    said = text(
        "restore_tenant", mine.slug, "--to", to, "--in-place", "--confirm", mine.slug, "--reason", "test", "--here"
    )
    assert "undo_restore" in said
    assert rows_of(mine.connection) == was
    for wrong in ("yesterday", "2026-11-23 10:15:00"):
        code, error = refusal("restore_tenant", mine.slug, "--to", wrong, "--as-backup")
        assert (code, error.code) in ((2, "invalid"), (2, "usage")), wrong


def test_the_clusters_page_shows_which_moments_there_are(
    place: Place, cluster: Any, browse: Callable[..., Any]
) -> None:
    client = browse("viewer")
    shown = text_of(client.get(url("tenants_cluster_change", place.cluster.pk)))
    assert place.row.base_backups[0]["label"] in shown
    assert "Earliest moment" in shown
    assert "archive_cluster --help" in text_of(client.get(url("tenants_cluster_change", cluster.pk)))


def test_a_cluster_without_an_archive_says_so(cluster: Any) -> None:
    _, error = refusal("show_archive", cluster.name)
    assert error.code == "point_in_time_unavailable"
    assert "archive_cluster" in (error.hint or "")


def test_a_tenant_is_recovered_by_rest(
    place: Place, tenant: Callable[..., Any], api_client: Callable[..., Any]
) -> None:
    mine, client = tenant(rows=2), api_client()
    path = f"/api/v1/tenants/{mine.pk}/restore"
    then = moment()
    slug = fresh_slug()
    answer = client.post(path, {"to": then.isoformat(), "target": "new", "slug": slug, "reason": "to look"})
    assert answer.status_code == 202, answer.content
    recovered = work(Operation.objects.get(pk=answer.json()["id"]))
    restored = work(Operation.objects.get(pk=recovered.result["restore"]))
    assert restored.state == "succeeded", restored.error
    assert Tenant.objects.get(slug=slug).state == "active"
    for body in (
        {"target": "new", "slug": slug}, {"to": "2026-01-01T00:00:00", "target": "backup"},
        {"to": then.isoformat(), "target": "same", "reason": "x"}, {"to": then.isoformat(), "target": "backup", "x": 1},
    ):  # fmt: skip
        assert client.post(path, body).status_code == 400, body
    early = client.post(path, {"to": "2020-01-01T00:00:00Z", "target": "backup"})
    assert (early.status_code, early.json()["code"]) == (409, "time_out_of_range")
    assert api_client("backups:read").post(path, {"to": then.isoformat(), "target": "backup"}).status_code == 403
    shown = client.get(f"/api/v1/clusters/{place.cluster.pk}").json()["archive"]
    assert shown["state"] == "active"
    assert shown["earliest"] < then.isoformat()
