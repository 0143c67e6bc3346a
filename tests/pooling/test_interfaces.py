"""Poolers by command, by REST, in the admin, and by beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from controlplane.embedded.pgbouncer import EmbeddedPgBouncer
from tenants import tasks
from tenants.groups import ensure_groups
from tenants.models import AuditEvent, Cluster, Pooler
from tenants.recent import note_confirmed
from tests.admin.support import form_errors, text_of, url
from tests.commands.support import call, manage, refusal, text
from tests.pooling.support import Server, bouncer, database, needs_pgbouncer, registered, server
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer


@dataclass
class Unregistered:
    """A cluster, and a PgBouncer of which it knows nothing."""

    server: Server
    cluster: Cluster
    bouncer: EmbeddedPgBouncer

    def options(self, *, file: bool = True) -> list[str]:
        """What an operator types to register it."""
        path = ["--config-path", str(self.bouncer.tenants_file)] if file else []
        return [self.cluster.name, "--host", "127.0.0.1", "--port", str(self.bouncer.port), *path]


@pytest.fixture(scope="module")
def running(cluster: Any, plan: Any) -> Iterator[tuple[Server, str, EmbeddedPgBouncer]]:
    where = server("18")
    with database(where) as dbname, bouncer(where) as made:
        yield where, dbname, made


@pytest.fixture
def place(running: tuple[Server, str, EmbeddedPgBouncer]) -> Iterator[Unregistered]:
    where, dbname, made = running
    cluster = registered(where, dbname)
    yield Unregistered(where, cluster, made)
    Cluster.objects.filter(pk=cluster.pk).delete()


@pytest.fixture
def sign_in() -> Callable[[str], Client]:
    def make(group: str) -> Client:
        user = get_user_model().objects.create_user(username=fresh_slug(group), is_staff=True)
        user.groups.add(ensure_groups()[group])
        client = Client()
        client.force_login(user)
        session = client.session
        note_confirmed(session)  # as signing in by the form does
        session.save()
        return client

    return make


def test_a_pooler_by_command(place: Unregistered, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text(place.server.pooler_password + "\n")
    made = call("register_pooler", *place.options(), "--password-file", str(tmp_path / "secret"))
    assert (made["cluster"], made["state"], made["port"]) == (place.cluster.name, "up", place.bouncer.port)
    assert made["version"].count(".") == 2
    assert place.server.pooler_password not in str(made)
    assert AuditEvent.objects.filter(action="pooler.register", target_label=f"127.0.0.1:{place.bouncer.port}").exists()
    assert refusal("register_pooler", *place.options(), "--password-file", str(tmp_path / "secret"))[0] == 3

    (checked,) = call("check_poolers", place.cluster.name, "--pools")["poolers"]
    assert checked["state"] == "up"
    assert {pool["login"] for pool in checked["pools"]} == {"cp_pooler"}
    assert made["version"] in text("check_poolers", place.cluster.name, "--pools")

    dry = call("sync_poolers", place.cluster.name, "--dry-run")["poolers"][0]["text"]
    assert dry == place.bouncer.tenants_file.read_text()
    place.bouncer.tenants_file.write_text(dry + "; spoilt\n")
    (synced,) = call("sync_poolers", place.cluster.name)["poolers"]
    assert synced["changed"]
    assert place.bouncer.tenants_file.read_text() == dry
    assert place.cluster.name in text("sync_poolers", place.cluster.name)
    assert dry.splitlines()[-1] in text("sync_poolers", place.cluster.name, "--dry-run")

    assert call("remove_pooler", place.cluster.name)["cluster"] == place.cluster.name
    assert not Pooler.objects.filter(cluster=place.cluster).exists()
    assert refusal("remove_pooler", place.cluster.name)[0] == 4


def test_check_poolers_ends_with_5_and_the_password_comes_from_the_environment(place: Unregistered) -> None:
    ran = manage("register_pooler", *place.options(), "--json", POOLER_PASSWORD=place.server.pooler_password)
    assert ran.code == 0, ran.err
    assert place.server.pooler_password not in ran.out + ran.err
    Pooler.objects.filter(cluster=place.cluster).update(port=1)
    ran = manage("check_poolers", place.cluster.name, "--json")
    assert ran.code == 5
    assert ran.document["poolers"][0]["state"] == "down"
    wrong = manage("register_pooler", "none-such", "--host", "127.0.0.1", "--json", POOLER_PASSWORD="x")
    assert wrong.code == 4


def test_the_main_file_is_printed_for_other_places() -> None:
    printed = text("pooler_config", "--listen-addr", "10.0.0.5", "--pgbouncer", "1.18.0")
    assert "listen_addr = 10.0.0.5\n" in printed
    assert "max_prepared_statements" not in printed
    assert "max_prepared_statements" in call("pooler_config")["text"]
    assert refusal("pooler_config", "--pgbouncer", "new")[0] == 2


def test_beat_keeps_configuration_and_state(place: Unregistered, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text(place.server.pooler_password)
    call("register_pooler", *place.options(), "--password-file", str(tmp_path / "secret"))
    right = place.bouncer.tenants_file.read_text()
    place.bouncer.tenants_file.write_text("; lost\n")
    assert tasks.sync_poolers() >= 1
    assert place.bouncer.tenants_file.read_text() == right
    Pooler.objects.filter(cluster=place.cluster).update(state="down", last_error="was away")
    assert tasks.check_poolers() >= 1
    row = Pooler.objects.get(cluster=place.cluster)
    assert (row.state, row.last_error) == ("up", "")
    Pooler.objects.filter(cluster=place.cluster).update(config_path="/nonexistent/file")
    tasks.sync_poolers()  # the others go on
    assert "/nonexistent/file" in Pooler.objects.get(cluster=place.cluster).last_error


def test_a_pooler_by_rest(place: Unregistered, tmp_path: Any, api_client: Any) -> None:
    client = api_client("clusters:read")
    path = f"clusters/{place.cluster.pk}"
    before = client.get(path).json()
    assert (before["pooler"], before["port"]) == (None, place.cluster.port)
    (tmp_path / "secret").write_text(place.server.pooler_password)
    call("register_pooler", *place.options(), "--password-file", str(tmp_path / "secret"))
    after = client.get(path).json()
    assert (after["host"], after["port"]) == ("127.0.0.1", place.bouncer.port)
    assert after["pooler"]["state"] == "up"
    assert after["pooler"]["facts"]["clients"] >= 0
    assert place.server.pooler_password not in str(after)


def test_a_pooler_in_the_admin(place: Unregistered, sign_in: Callable[[str], Client]) -> None:
    viewer, administrator = sign_in("viewer"), sign_in("administrator")
    page, form = url("tenants_cluster_change", place.cluster.pk), url("tenants_cluster_pooler", place.cluster.pk)
    assert "Tenants connect to the server itself." in text_of(viewer.get(page))
    assert viewer.get(form).status_code == 403
    answers = {"host": "127.0.0.1", "port": str(place.bouncer.port), "password": "wrong"}
    answers |= {"config_path": str(place.bouncer.tenants_file)}
    refused = administrator.post(form, answers)
    assert "cannot be reached" in str(form_errors(refused))
    assert administrator.post(form, answers | {"password": place.server.pooler_password}).status_code == 302
    shown = text_of(viewer.get(page))
    version = Pooler.objects.get(cluster=place.cluster).version
    assert f"PgBouncer {version}" in shown
    assert f"127.0.0.1:{place.bouncer.port} a pooler" in shown
    assert "Remove the pooler" not in shown
    assert place.server.pooler_password not in administrator.get(page).content.decode()
    direct = url("tenants_cluster_direct", place.cluster.pk)
    assert viewer.get(direct).status_code == 403
    assert "+cp_tenants all reject" in text_of(administrator.get(direct))
    assert administrator.post(direct, {"door": "closed"}).status_code == 302
    assert Pooler.objects.get(cluster=place.cluster).direct_wanted == "closed"
    check = administrator.post(url("tenants_cluster_check", place.cluster.pk), follow=True)
    assert "is well" in text_of(check)
    removal = url("tenants_cluster_pooler_remove", place.cluster.pk)
    assert viewer.post(removal).status_code == 403
    assert administrator.post(removal).status_code == 302
    assert not Pooler.objects.filter(cluster=place.cluster).exists()
    assert AuditEvent.objects.filter(action="pooler.remove", before__cluster=place.cluster.name).exists()
