"""The proof of isolation on the pages of a cluster and a tenant, and in the lists of findings and attempts."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from provisioning import services, slots
from tenants.models import AuditEvent, IsolationAttempt, IsolationFinding, LogWatch
from tests.isolation.arena import SERVERS, cluster_at, shared_roles, superuser
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


def test_an_operator_proves_a_cluster_and_sees_what_is_found(browse: Any, template: Any) -> None:
    server = SERVERS[18]
    if server.missing:
        pytest.skip(server.missing)
    with shared_roles(server), cluster_at(server, "lockdown") as cluster:
        made = []
        for _ in range(2):
            assert slots.build(slots.reserve(cluster, template))
            made.append(
                services.provision_tenant(
                    name="Acme", slug=fresh_slug(), cluster=cluster.name, template=template.template.name,
                    actor=ACTOR, source=SOURCE,
                ).tenant
            )  # fmt: skip
        tenant, other = made
        client = browse("operator")
        place = reverse("admin:tenants_cluster_change", args=[cluster.pk])
        page = client.get(place).content.decode()
        assert "never proven" in page
        assert "log not watched" in page
        prove = reverse("admin:tenants_isolationfinding_prove", args=[cluster.pk])
        assert client.get(prove).status_code == 302
        assert "kept apart" in client.post(prove, follow=True).content.decode()
        mine = reverse("admin:tenants_tenant_change", args=[tenant.pk])
        page = client.get(mine).content.decode()
        assert "all denied" in page
        with superuser(server, cluster.dbname) as session:
            session.execute(f"GRANT {other.schema_name}_rw TO {tenant.schema_name}_rw_a")
        LogWatch.objects.create(cluster=cluster, seen_at=timezone.now())
        page = client.post(prove, follow=True).content.decode()
        assert "not proven" in page
        assert "log watched" in page
        assert f"is a member of {other.schema_name}_rw" in page
        assert f"is a member of {other.schema_name}_rw" in client.get(mine).content.decode()
        event = AuditEvent.objects.get(action="isolation.violation", tenant_id=tenant.pk, after__code="membership")
        assert (event.channel, event.actor_label) == ("admin", client.person.username)
        finding = IsolationFinding.objects.get(tenant=tenant, code="membership")
        now = timezone.now()
        attempt = IsolationAttempt.objects.create(
            cluster=cluster, kind="foreign_object", attacker=tenant, login=f"{tenant.schema_name}_rw_a", target=other,
            target_name=other.schema_name, statement="SELECT", address="127.0.0.1", first_at=now, last_at=now,
        )  # fmt: skip
        viewer = browse("viewer")
        for row in (finding, attempt):
            name = row._meta.model_name
            listed = viewer.get(reverse(f"admin:tenants_{name}_changelist"), {"cluster__id__exact": cluster.pk})
            assert tenant.slug in listed.content.decode()
            assert viewer.get(reverse(f"admin:tenants_{name}_change", args=[row.pk])).status_code == 200
        assert viewer.post(prove).status_code == 403
