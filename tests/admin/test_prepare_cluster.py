"""Preparing a cluster from its page: shown first, then done, by those who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from tenants.models import AuditEvent
from tests.isolation.arena import SERVERS, empty_cluster


def test_an_administrator_sees_the_sql_then_closes_the_cluster(browse: Any) -> None:
    server = SERVERS[18]
    if server.missing:
        pytest.skip(server.missing)
    password = server.superuser_url.split(":")[2].split("@")[0]
    with empty_cluster(server) as cluster:
        client, place = browse("administrator"), reverse("admin:tenants_cluster_prepare", args=[cluster.pk])
        assert "kept nowhere" in client.get(place).content.decode()
        answers = {"level": "sealed", "superuser_url": server.superuser_url, "dry_run": "on"}
        page = client.post(place, answers).content.decode()
        assert "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC" in page
        assert "none of which was kept" in page
        cluster.refresh_from_db()
        assert cluster.isolation_level == "baseline"
        page = client.post(place, {"level": "sealed", "superuser_url": server.superuser_url}).content.decode()
        assert "is at the level sealed" in page
        assert password not in page
        cluster.refresh_from_db()
        assert cluster.isolation_level == "sealed"
        page = client.get(reverse("admin:tenants_cluster_change", args=[cluster.pk])).content.decode()
        assert "cp_backup_" in page
        assert "sealed" in page
        event = AuditEvent.objects.filter(action="cluster.prepare", target_id=cluster.pk).latest("id")
        assert (event.actor_label, event.channel) == (client.person.username, "admin")
        assert password not in str(event.after)
        assert (
            "not a connection string"
            in client.post(place, {"level": "sealed", "superuser_url": "x y"}).content.decode()
        )


@pytest.mark.parametrize("group", ["viewer", "operator", "auditor"])
def test_others_may_not(browse: Any, cluster: Any, group: str) -> None:
    place = reverse("admin:tenants_cluster_prepare", args=[cluster.pk])
    assert browse(group).get(place).status_code == 403
    assert browse(group).post(place, {"level": "sealed"}).status_code == 403
