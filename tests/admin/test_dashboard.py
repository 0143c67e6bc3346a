"""The fleet on the first page: right numbers, few queries, links that lead to what was counted."""

from __future__ import annotations

import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.models import Operation
from tests.admin.support import text_of, url
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


def counted() -> dict[str, Any]:
    from controlplane.dashboard import fleet

    found = fleet()
    return {
        "states": {number.label: number.value for number in found["tenants"]["states"]},
        "operations": {number.label: number.value for number in found["operations"]},
        "times": {row["label"]: row["count"] for row in found["times"]},
        "hours": found["hours"]["total"],
        "ready": found["pools"]["ready"],
    }


def finished(kind: str, state: str, tenant: Any, **more: Any) -> Operation:
    now = timezone.now()
    return Operation.objects.create(
        kind=kind, state=state, tenant=tenant, cluster=tenant.cluster, actor_kind="command", actor_label="tests",
        channel="command", started_at=now, finished_at=now, **more,
    )  # fmt: skip


def test_it_counts_tenants_operations_and_provisionings(cluster: Any, make_tenant: Any) -> None:
    from provisioning import pool, services

    before = counted()
    one, two = make_tenant(), make_tenant()
    services.suspend_tenant(tenant_id=two.pk, actor=ACTOR, source=SOURCE)
    finished("tenant.suspend", "failed", one, error={"code": "x", "message": "It broke."})
    waiting = services.provision_tenant(
        name="Cold", slug=fresh_slug(), respond_async=True, actor=ACTOR, source=SOURCE
    ).operation
    pool.fill_one(cluster, pool.current_versions()[0], 10_000)
    after = counted()

    def grew(*path: str) -> int:
        old, new = before, after
        for part in path:
            old, new = old[part], new[part]
        return int(new) - int(old)  # type: ignore[call-overload]

    assert grew("states", "active") == 1
    assert grew("states", "suspended") == 1
    assert grew("states", "provisioning") == 1
    assert grew("operations", "waiting") == 1
    assert grew("operations", "failed in 24 h") == 1
    assert grew("operations", "succeeded in 24 h") == 3
    assert grew("times", "warm") == 2
    assert grew("times", "cold") == 0
    assert grew("hours") == 2
    waiting.refresh_from_db()
    assert waiting.state == "pending"


def test_its_queries_do_not_grow_with_the_fleet(browse: Any, make_tenant: Any) -> None:
    from tenants.models import Cluster

    client = browse("viewer")
    make_tenant()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url("fleet")).status_code == 200
        return len(captured)

    queries()  # the first look of a session writes down when that was
    first = queries()
    for _ in range(3):
        finished("tenant.suspend", "failed", make_tenant())
        Cluster.objects.create(name=fresh_slug("c"), host="127.0.0.1", dbname="x", state="disabled")
    assert queries() == first


def test_each_number_leads_to_what_it_counts(browse: Any, make_tenant: Any) -> None:
    client = browse("viewer")
    finished("tenant.suspend", "failed", make_tenant())
    page = client.get(url("index")).content.decode()
    links = set(re.findall(r'<a id="fleet-[^"]+"[^>]*href="([^"]+)"', page))
    assert len(links) >= 12
    for link in links:
        assert client.get(link.replace("&amp;", "&")).status_code == 200, link
    failed = client.get(url("index")).context["fleet"]["operations"][2]
    listed = client.get(failed.url).context["cl"].result_count
    assert listed == failed.value


def test_a_broken_cluster_and_an_empty_pool_stand_out(browse: Any, template: Any) -> None:
    from tenants.models import Cluster

    name = fresh_slug("broken")
    Cluster.objects.create(
        name=name, host="127.0.0.1", dbname="x", pool_target=3, last_error="no route", checked_at=timezone.now()
    )
    page = text_of(browse("viewer").get(url("index")))
    Cluster.objects.filter(name=name).delete()
    assert re.search(rf"{name}.{{0,40}}failing", page)
    assert re.search(rf"tiny v1 on {name} 0 of 3", page)
    assert re.search(r"Taken at \d\d:\d\d:\d\d UTC", page)
