"""How long, how many, and how they end."""

from __future__ import annotations

import time

import pytest
from django.urls import reverse

from controlplane.door import sessions
from controlplane.door.models import SessionRecord
from tenants.models import AuditEvent
from tests.commands.support import call
from tests.door.conftest import PASSWORD


def age(visitor, **moments):
    session = visitor.http.session
    for name, seconds in moments.items():
        session[f"door.{name}"] = time.time() - seconds
    session.save()


def why(visitor):
    return [event.after["why"] for event in AuditEvent.objects.filter(
        action="session.expire", target_id=str(visitor.user.pk))]  # fmt: skip


def test_an_idle_session_ends(visitor, settings):
    alice = visitor()
    alice.sign_in()
    age(alice, seen=settings.SESSION_IDLE_SECONDS - 5)
    assert alice.is_in
    age(alice, seen=settings.SESSION_IDLE_SECONDS + 5)
    assert not alice.is_in
    assert why(alice) == ["idle"]


def test_what_the_page_asks_by_itself_does_not_keep_it_alive(visitor, settings):
    alice = visitor()
    alice.sign_in()
    age(alice, seen=300)
    before = alice.http.session["door.seen"]
    alice.http.get(reverse("admin:fleet"), headers={"HX-Request": "true"})
    assert alice.http.session["door.seen"] == before
    alice.http.get(reverse("admin:index"))
    assert alice.http.session["door.seen"] > before
    age(alice, seen=settings.SESSION_IDLE_SECONDS + 5)
    assert alice.http.get(reverse("admin:fleet"), headers={"HX-Request": "true"})["HX-Refresh"] == "true"


def test_a_session_in_use_ends_by_its_age(visitor, settings):
    alice = visitor()
    alice.sign_in()
    age(alice, began=settings.SESSION_COOKIE_AGE + 5, seen=0)
    assert not alice.is_in
    assert why(alice) == ["age"]


def test_of_too_many_the_one_unused_longest_ends(visitor, settings):
    settings.MAX_SESSIONS = 2
    alice = visitor()
    browsers = [visitor(user=alice.user) for _ in range(3)]
    for browser in browsers:
        browser.sign_in()
    assert [browser.is_in for browser in browsers] == [False, True, True]
    assert sessions.living(alice.user).count() == 2


def test_a_new_password_ends_all_other_sessions(visitor):
    alice = visitor()
    here, there = visitor(user=alice.user), visitor(user=alice.user)
    here.sign_in()
    there.sign_in()
    new = "quite another password 99"
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.http.post(reverse("admin:password_change"), fields).status_code == 302
    assert here.is_in
    assert not there.is_in


@pytest.mark.parametrize(("which", "stays"), [("others", True), ("everywhere", False)])
def test_signing_out_elsewhere_and_everywhere(visitor, which, stays):
    alice = visitor()
    here, there = visitor(user=alice.user), visitor(user=alice.user)
    here.sign_in()
    there.sign_in()
    here.http.post(reverse("admin:end_sessions"), {"which": which})
    assert here.is_in is stays
    assert not there.is_in


def test_ending_one_session_and_never_somebody_elses(visitor):
    alice, bob = visitor(), visitor()
    here, there = visitor(user=alice.user), visitor(user=alice.user)
    for browser in (here, there, bob):
        browser.sign_in()
    record = SessionRecord.objects.get(session_key=bob.http.session.session_key)
    here.http.post(reverse("admin:end_sessions"), {"which": str(record.pk)})
    assert bob.is_in
    record = SessionRecord.objects.get(session_key=there.http.session.session_key)
    here.http.post(reverse("admin:end_sessions"), {"which": str(record.pk)})
    assert not there.is_in
    assert here.is_in


def test_the_page_shows_ones_own_sessions_only(visitor):
    alice, bob = visitor(), visitor(ip="10.99.88.77")
    alice.sign_in()
    bob.sign_in()
    text = alice.http.get(reverse("admin:security")).content.decode()
    assert alice.http.defaults["REMOTE_ADDR"] in text
    assert "10.99.88.77" not in text


def test_the_command_ends_all(visitor):
    alice = visitor()
    alice.sign_in()
    assert call("end_sessions", alice.user.username, "--reason", "lost") == {
        "username": alice.user.username, "ended_sessions": 1,
    }  # fmt: skip
    assert not alice.is_in


def test_records_of_sessions_that_are_over_are_forgotten(visitor):
    from datetime import timedelta

    from django.utils import timezone

    alice = visitor()
    alice.sign_in()
    record = SessionRecord.objects.get(user=alice.user)
    SessionRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(hours=1))
    sessions.forget_old()
    assert SessionRecord.objects.filter(pk=record.pk).exists()
    alice.http.logout()
    sessions.forget_old()
    assert not SessionRecord.objects.filter(pk=record.pk).exists()
