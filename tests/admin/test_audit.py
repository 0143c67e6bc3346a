"""The review screens: filters, pages, trails, differences, exports, kept filters, signing off."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.ledger import review, sealer
from tenants.models import AuditEvent, AuditFilter, AuditReview, AuditSeal, AuditVerification, Tenant
from tests.admin.support import events, form_errors, tenant_url, text_of, url
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

LIST = "tenants_auditevent_changelist"


@pytest.fixture
def mark() -> str:
    """An actor of this test's own."""
    return fresh_slug("actor")


def write(mark: str, action: str = "tests.act", **what: Any) -> AuditEvent:
    source = Source(
        what.pop("channel", "rest"), ip=what.pop("ip", "192.0.2.9"), request_id=what.pop("request_id", "")
    )  # fmt: skip
    audit.record(action, actor=Actor("api_key", mark, mark), source=source, **what)
    return AuditEvent.objects.filter(actor_label=mark).latest("id")


def shown(client: Any, **query: str) -> list[int]:
    response = client.get(f"{url(LIST)}?{urlencode(query)}")
    assert response.status_code == 200
    return [event.pk for event in response.context["found"].events]


def test_each_filter_narrows_down_alone_and_together(browse: Callable[..., Any], mark: str) -> None:
    client, number, request = browse("auditor"), uuid.uuid4(), fresh_slug("request")
    plain = write(mark)
    other = write(mark, "tests.other", channel="admin", request_id=request, outcome="denied")
    AuditEvent.objects.bulk_create([AuditEvent(
        action="tests.act", actor_kind="api_key", actor_id=mark, actor_label=mark, channel="beat", tenant_id=number,
        tenant_slug="gone", target_id=request, at=timezone.now() - timedelta(days=400),
    )])  # fmt: skip
    old = AuditEvent.objects.get(tenant_id=number)
    assert shown(client, actor=mark) == [other.pk, plain.pk, old.pk]
    assert shown(client, actor=f"api_key:{mark}") == [other.pk, plain.pk, old.pk]
    assert shown(client, actor=mark, action="tests.other") == [other.pk]
    assert shown(client, actor=mark, action="tests.") == [other.pk, plain.pk, old.pk]
    assert shown(client, actor=mark, outcome="denied") == [other.pk]
    assert shown(client, actor=mark, channel="rest") == [plain.pk]
    assert shown(client, request_id=request) == [other.pk]
    assert shown(client, tenant=str(number)) == shown(client, target=request) == [old.pk]
    assert shown(client, tenant_id__exact=str(number)) == [old.pk], "links of former versions"
    day = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert shown(client, actor=mark, since=day) == [other.pk, plain.pk]
    assert shown(client, actor=mark, until=day) == [old.pk]
    assert shown(client, actor=mark, channel="rest", outcome="denied") == []


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"outcome": "odd"}, {"tenant": "never-was-there"}])
def test_a_filter_that_makes_no_sense_is_said_at_its_field(browse: Callable[..., Any], query: dict[str, str]) -> None:
    response = browse("auditor").get(f"{url(LIST)}?{urlencode(query)}")
    assert (response.status_code, response.context["found"]) == (200, None)
    assert set(form_errors(response)) == set(query)
    assert browse("auditor").get(f"{url(LIST)}?cursor=nonsense").context["problem"]


def test_pages_go_back_and_forth_without_gaps(browse: Callable[..., Any], mark: str) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    AuditEvent.objects.bulk_create(
        AuditEvent(action="tests.page", actor_kind="command", actor_label=mark, channel="command",
                   at=moment + timedelta(seconds=n // 3))
        for n in range(120)
    )  # fmt: skip
    wanted = list(AuditEvent.objects.filter(actor_label=mark).order_by("-at", "-id").values_list("pk", flat=True))
    client, cursor, found, pages = browse("auditor"), "", [], []
    while True:
        page = client.get(url(LIST), {"actor": mark, "cursor": cursor}).context["found"]
        found += [event.pk for event in page.events]
        pages.append(page)
        if page.older is None:
            break
        cursor = page.older
    assert (found, len(pages)) == (wanted, 3)
    back = client.get(url(LIST), {"actor": mark, "cursor": pages[2].newer}).context["found"]
    assert [event.pk for event in back.events] == wanted[50:100]
    assert pages[0].newer is None
    assert client.get(url(LIST), {"actor": mark, "cursor": back.newer}).context["found"].newer is None


def test_few_are_counted_and_many_estimated(browse: Callable[..., Any], mark: str) -> None:
    for _ in range(3):
        write(mark)
    page = browse("auditor").get(url(LIST), {"actor": mark}).context["found"]
    assert (page.total, page.exact) == (3, True)
    many = fresh_slug("many")
    AuditEvent.objects.bulk_create(
        AuditEvent(action="tests.many", actor_kind="command", actor_label=many, channel="command") for _ in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tenants_auditevent")
    response = browse("auditor").get(url(LIST), {"actor": many})
    page = response.context["found"]
    assert not page.exact
    assert 1000 < page.total < 9000
    assert "about" in text_of(response)


def test_a_search_that_takes_too_long_is_given_up(mark: str, monkeypatch: Any) -> None:
    write(mark)
    monkeypatch.setattr(review, "PATIENCE_MS", 100)
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:  # a lock makes any search slow
        other.execute("LOCK TABLE tenants_auditevent IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(review.TooSlow):
            review.page(AuditEvent.objects.filter(actor_label=mark))


def test_an_event_shows_what_changed_and_its_place_in_the_chain(browse: Callable[..., Any], mark: str) -> None:
    before = {"state": "active", "limits": {"connections": 5, "memory": 1}, "gone": "x", "same": [1]}
    after = {"state": "suspended", "limits": {"connections": 7, "memory": 1}, "same": [1], "new": "<b>"}
    event = write(mark, before=before, after=after)
    found = {one.name: (one.before, one.after, one.kind) for one in review.difference(event)}
    assert found == {
        "state": ("active", "suspended", "changed"),
        "limits.connections": ("5", "7", "changed"),
        "limits.memory": ("1", "1", "same"),
        "gone": ("x", "", "removed"),
        "same": ("[1]", "[1]", "same"),
        "new": ("", "<b>", "added"),
    }
    client, page = browse("auditor"), url("tenants_auditevent_change", event.pk)
    assert "waits for its seal" in text_of(client.get(page))
    sealer.seal_pending()
    response = client.get(page)
    seal = AuditSeal.objects.get(event_id=event.pk)
    assert bytes(seal.hash).hex() in response.content.decode()
    assert "cp-diff-changed" in response.content.decode()
    assert "<b>" not in response.content.decode().partition("cp-diff")[2].partition("</table>")[0]
    assert client.post(page, {"reason": "x"}).status_code in (200, 403, 405)
    assert AuditEvent.objects.get(pk=event.pk).reason == ""


def test_a_trail_of_a_request_crosses_all_doors(browse: Callable[..., Any], mark: str) -> None:
    request = fresh_slug("request")
    made = [write(mark, f"tests.{door}", channel=door, request_id=request, after={"door": door})
            for door in ("rest", "worker", "admin", "command")]  # fmt: skip
    response = browse("auditor").get(url("tenants_auditevent_trail"), {"request_id": request})
    assert [event.pk for event, _ in response.context["steps"]] == [event.pk for event in made], "from its beginning"
    text = text_of(response)
    assert all(f"tests.{door}" in text for door in ("rest", "worker", "admin", "command"))
    assert browse("auditor").get(url("tenants_auditevent_trail")).status_code == 302


def test_a_real_request_leaves_one_trail_across_rest_and_worker(
    browse: Callable[..., Any], api_client: Any, template: Any, cluster: Any, plan: Any
) -> None:
    """Asked for over REST, carried out by a worker: one id."""
    from tenants import operations

    request = fresh_slug("trail")
    answer = api_client().post(
        "tenants", {"name": "Trail", "slug": fresh_slug("trail")}, prefer="respond-async", x_request_id=request
    )
    assert answer.status_code == 202, answer.content
    operations.work(answer.json()["id"])
    response = browse("auditor").get(url("tenants_auditevent_trail"), {"request_id": request})
    steps = [event for event, _ in response.context["steps"]]
    # What the worker did is told as asked for over REST, with the same id; that a worker did it says the operation.
    assert [event.after["state"] for event in steps if event.after and "state" in event.after][-1] == "active"
    assert len(steps) >= 2
    assert [one.pk for one in response.context["operations"]] == [uuid.UUID(answer.json()["id"])]
    assert answer.json()["kind"] in text_of(response)


def test_the_trail_of_a_tenant_by_slug_and_from_its_page(browse: Callable[..., Any], tenant: Tenant) -> None:
    client = browse("auditor")
    response = client.get(url("tenants_auditevent_trail"), {"tenant": tenant.slug})
    found = [event.pk for event, _ in response.context["steps"]]
    of_tenant = AuditEvent.objects.filter(tenant_id=tenant.pk).order_by("-at", "-id")
    assert found == list(of_tenant.values_list("pk", flat=True))
    assert shown(client, tenant=tenant.slug) == found
    assert f"?tenant={tenant.pk}" in client.get(tenant_url(tenant)).content.decode()


def test_exports_of_what_the_filter_shows(browse: Callable[..., Any], mark: str) -> None:
    client = browse("auditor")
    write(mark, reason="=HYPERLINK(1)")
    write(fresh_slug("other"))
    export = url("tenants_auditevent_export")
    answer = client.get(export, {"as": "csv", "actor": mark})
    assert answer["Content-Disposition"].startswith("attachment;")
    (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    assert (row["actor_label"], row["reason"]) == (mark, "'=HYPERLINK(1)")
    lines = [json.loads(line) for line in client.get(export, {"actor": mark}).getvalue().splitlines()]
    assert (lines[0]["kind"], lines[-1]["kind"]) == ("audit export v1", "end")
    done = events("audit.export", actor_id=str(client.person.pk))
    assert [event.after["format"] for event in done] == ["jsonl", "csv"]
    assert browse("operator").get(export).status_code == 403


def test_filters_are_kept_for_oneself(browse: Callable[..., Any], mark: str) -> None:
    client, other = browse("auditor"), browse("auditor")
    query = urlencode({"actor": mark, "outcome": "denied"})
    for _ in range(2):  # the second takes the place of the first
        client.post(url("tenants_auditevent_keep"), {"name": "Refusals", "query": query})
    kept = AuditFilter.objects.get(owner=client.person)
    assert (kept.name, kept.query) == ("Refusals", query)
    assert "Refusals" in text_of(client.get(url(LIST)))
    assert "Refusals" not in text_of(other.get(url(LIST)))
    other.post(url("tenants_auditevent_forget", kept.pk))
    assert AuditFilter.objects.filter(pk=kept.pk).exists(), "only one's own"
    client.post(url("tenants_auditevent_keep"), {"name": "", "query": query})
    client.post(url("tenants_auditevent_keep"), {"name": "nothing", "query": ""})
    assert AuditFilter.objects.filter(owner=client.person).count() == 1
    assert client.get(url("tenants_auditevent_keep")).status_code == 405
    evil = client.post(url("tenants_auditevent_keep"), {"name": "x", "query": "\r\nSet-Cookie: a=b"})
    assert evil["Location"] == url(LIST)
    client.post(url("tenants_auditevent_forget", kept.pk))
    assert not AuditFilter.objects.filter(pk=kept.pk).exists()
    assert browse("operator").post(url("tenants_auditevent_keep"), {"name": "a", "query": "b"}).status_code == 403


def test_a_range_is_signed_off_with_a_note_and_on_record(browse: Callable[..., Any], mark: str) -> None:
    client, event = browse("auditor"), write(mark)
    sealer.seal_pending()
    seal = AuditSeal.objects.get(event_id=event.pk)
    page = url("tenants_auditreview_add")
    assert client.get(page).context["form"].initial["to_seq"] == seal.seq
    refused = client.post(page, {"from_seq": seal.seq, "to_seq": seal.seq + 1000, "note": "x"})
    assert set(form_errors(refused)) == {"to_seq"}
    assert set(form_errors(client.post(page, {"from_seq": "1", "to_seq": "1", "note": " "}))) == {"note"}
    client.post(page, {"from_seq": seal.seq, "to_seq": seal.seq, "note": "Read it; all is well."})
    done = AuditReview.objects.get(reviewer_id=str(client.person.pk))
    assert (done.from_seq, done.to_seq, done.hash) == (seal.seq, seal.seq, bytes(seal.hash).hex())
    written = events("audit.review", actor_id=str(client.person.pk)).get()
    assert written.after == {"from_seq": seal.seq, "to_seq": seal.seq, "hash": done.hash}
    assert written.reason == done.note
    assert done.note in text_of(client.get(url("tenants_auditevent_change", event.pk)))
    again = client.post(page, {"from_seq": seal.seq, "to_seq": seal.seq, "note": "again"})
    assert "before" in str(form_errors(again))
    with pytest.raises(InvalidInput):
        review.sign_off(from_seq=2, to_seq=1, note="x", actor=ACTOR, source=SOURCE)
    actor = Actor("user", str(client.person.pk), "x")
    with pytest.raises(Conflict):
        review.sign_off(from_seq=1, to_seq=seal.seq, note="x", actor=actor, source=SOURCE)
    assert browse("operator").get(page).status_code == 403


def test_results_of_verifications_are_shown(browse: Callable[..., Any]) -> None:
    finding = {"code": "event_changed", "message": "The event 7 is not what was sealed.", "seq": 7, "event": 7}
    now = timezone.now()
    row = AuditVerification.objects.create(
        started_at=now, finished_at=now, ok=False, full=True, from_seq=0, to_seq=9, events=9, checkpoints=1,
        findings=[finding], notices=["To know."], actor_label="tests",
    )  # fmt: skip
    client = browse("auditor")
    page = text_of(client.get(url("tenants_auditverification_change", row.pk)))
    assert finding["message"] in page
    assert "To know." in page
    assert finding["message"] in text_of(client.get(url("tenants_auditverification_changelist")))
    assert "does not hold" in text_of(client.get(url(LIST)))
    row.delete()
    assert "does not hold" not in text_of(client.get(url(LIST)))
    asked = client.post(url("tenants_auditverification_now"), follow=True)
    assert "A worker verifies the log" in text_of(asked)
    assert events("audit.verify_request", actor_id=str(client.person.pk)).exists()


def test_a_page_takes_as_many_queries_for_fifty_events_as_for_one(
    browse: Callable[..., Any], mark: str, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        write(mark)
    client = browse("auditor")
    client.get(url(LIST))
    with django_assert_max_num_queries(18):
        client.get(url(LIST), {"actor": mark})
