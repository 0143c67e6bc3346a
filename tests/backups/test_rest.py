"""Backups over REST."""

from __future__ import annotations

from typing import Any

from backups.models import Backup
from tenants import operations
from tenants.api_keys import create_api_key
from tests.backups.support import BY, back_up
from tests.rest.support import problem, wrong_fields
from tests.support.api import ApiClient
from tests.support.fixtures import fresh_slug


def test_a_backup_is_taken_seen_kept_and_verified(tenant: Any, api_client: Any) -> None:
    mine, client = tenant(rows=2), api_client("backups:read", "backups:write", "operations:read")
    asked = client.post(f"tenants/{mine.pk}/backup", {"note": "before", "keep_days": 5})
    assert asked.status_code == 202
    assert asked["Location"].endswith(asked.json()["id"])
    again = client.post(f"tenants/{mine.pk}/backup")
    assert problem(again, 409, "operation_in_progress")["operation"] == asked.json()["id"]
    operations.work(asked.json()["id"])
    done = client.get(f"operations/{asked.json()['id']}").json()
    assert done["state"] == "succeeded"
    shown = client.get(f"backups/{done['result']['backup']}").json()
    assert (shown["tenant"], shown["state"], shown["note"]) == (str(mine.pk), "succeeded", "before")
    assert shown["copies"][0]["state"] == "stored"
    assert shown["links"]["operation"] == asked["Location"]
    assert any("its own retention" in reason for reason in shown["kept_because"])
    changed = client.patch(f"backups/{shown['id']}", {"pinned": True, "keep_days": 0}).json()
    assert (changed["pinned"], changed["keep_until"]) == (True, None)
    assert "pinned" in changed["kept_because"]
    verifying = client.post(f"backups/{shown['id']}/verify", {"deep": True})
    assert verifying.status_code == 202
    problem(client.post(f"backups/{shown['id']}/verify"), 409, "operation_in_progress")
    operations.work(verifying.json()["id"])
    assert client.get(f"operations/{verifying.json()['id']}").json()["result"]["damaged"] == 0


def test_lists_are_narrowed_and_paged(tenant: Any, api_client: Any) -> None:
    mine, client = tenant(), api_client("backups:read")
    made = [str(back_up(mine).pk) for _ in range(3)]
    first = client.get(f"tenants/{mine.pk}/backups?page_size=2").json()
    assert [row["id"] for row in first["results"]] == [made[2], made[1]]
    assert [row["id"] for row in client.get(first["next"].partition("/api/v1/")[2]).json()["results"]] == [made[0]]
    fleet = client.get(f"backups?tenant={mine.pk}&state=succeeded").json()["results"]
    assert [row["id"] for row in fleet] == made[::-1]
    assert client.get(f"backups?tenant={mine.pk}&state=failed").json()["results"] == []


def test_what_is_wrong_is_said_by_name(tenant: Any, api_client: Any) -> None:
    mine, client = tenant(), api_client("backups:read", "backups:write")
    sent = {"note": "two\nlines", "keep_days": 0, "pinned": "yes", "force": True}
    assert wrong_fields(client.post(f"tenants/{mine.pk}/backup", sent)) == set(sent)
    nobody = "00000000-0000-4000-8000-000000000000"
    problem(client.post(f"tenants/{nobody}/backup"), 404, "not_found")
    problem(client.get(f"tenants/{nobody}/backups"), 404, "not_found")
    problem(client.get(f"backups/{nobody}"), 404, "not_found")
    problem(client.patch(f"backups/{nobody}", {"pinned": True}), 404, "not_found")


def test_a_key_of_one_tenant_sees_its_own_backups(tenant: Any) -> None:
    mine, other = tenant(), tenant()
    own, foreign = back_up(mine), back_up(other)
    _, key = create_api_key(name=fresh_slug("key"), scopes=["backups:read", "backups:write"], tenant=mine, **BY)
    client = ApiClient(key)
    assert [row["id"] for row in client.get("backups").json()["results"]] == [str(own.pk)]
    assert client.get(f"backups/{own.pk}").status_code == 200
    for refused in (
        client.get(f"backups/{foreign.pk}"),
        client.patch(f"backups/{foreign.pk}", {"pinned": True}),
        client.post(f"backups/{foreign.pk}/verify"),
        client.get(f"tenants/{other.pk}/backups"),
        client.post(f"tenants/{other.pk}/backup"),
    ):
        problem(refused, 404, "not_found")
    assert Backup.objects.filter(origin_id=other.pk).count() == 1
