"""Letting a migrator in and out from a tenant's page."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import psycopg
import pytest
from django.urls import reverse

from provisioning import pool, services
from tests.isolation.arena import SERVERS, cluster_at
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


def test_an_administrator_opens_and_closes_a_migrator(browse: Any, template: Any) -> None:
    server = SERVERS[18]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        assert pool.fill_one(cluster, template, 1)
        tenant = services.provision_tenant(
            name="Migrates", slug=fresh_slug(), template=template.template.name, cluster=cluster.name,
            actor=ACTOR, source=SOURCE,
        ).tenant  # fmt: skip
        client = browse("administrator")
        place = reverse("admin:tenants_tenant_migrator", args=[tenant.pk])
        assert "looked at" not in client.get(place).content.decode()
        page = unescape(client.post(place, {"minutes": 5, "reason": "release 4.2"}).content.decode())
        dsn = re.findall(r"postgresql://\S+?_mig:[^\s\"'<]+", page)[0]
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute("CREATE TABLE from_the_admin (id int)")
        assert "is open already" in unescape(client.post(place, {"minutes": 5, "reason": "twice"}).content.decode())
        close = reverse("admin:tenants_tenant_close-migrator", args=[tenant.pk])
        assert client.post(close, {"reason": ""}).status_code == 302
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn)
        assert "No migrator" in client.post(close, {"reason": ""}).content.decode()


@pytest.mark.parametrize("group", ["viewer", "operator", "auditor"])
def test_others_may_not(browse: Any, cluster: Any, template: Any, make_tenant: Any, group: str) -> None:
    tenant = make_tenant()
    assert browse(group).get(reverse("admin:tenants_tenant_migrator", args=[tenant.pk])).status_code == 403
