"""Codes, recovery codes, policies, lost devices."""

from __future__ import annotations

import time
from datetime import timedelta

import pyotp
from django.contrib.auth.models import Group
from django.urls import reverse

from controlplane.door.models import RecoveryCode, SecondFactor, SignInPolicy
from tenants.models import AuditEvent
from tests.commands.support import call, refusal
from tests.support.fixtures import fresh_slug


def next_code(app: pyotp.TOTP) -> str:
    """A code that has not been used: the next step's, which is accepted a little early."""
    return app.at(int(time.time()) + 30)


def test_without_an_app_the_password_is_enough(visitor):
    alice = visitor()
    assert alice.sign_in().url == reverse("admin:index")
    assert alice.is_in


def test_with_an_app_the_password_alone_opens_nothing(visitor):
    alice = visitor()
    alice.sign_in()
    app, _ = alice.enrol()
    again = visitor(user=alice.user)
    assert again.sign_in().url == reverse("admin:login_code")
    assert not again.is_in
    assert again.http.get("/api/v1/tenants").status_code == 401
    assert again.send_code("000000").status_code == 200
    assert not again.is_in
    assert again.send_code(next_code(app)).status_code == 302
    assert again.is_in


def test_a_code_works_once(visitor):
    alice = visitor()
    alice.sign_in()
    app, _ = alice.enrol()
    code = next_code(app)
    first, second = visitor(user=alice.user), visitor(user=alice.user)
    for browser in (first, second):
        browser.sign_in()
    assert first.send_code(code).status_code == 302
    assert second.send_code(code).status_code == 200
    assert not second.is_in


def test_a_recovery_code_works_once_in_any_spelling(visitor):
    alice = visitor()
    alice.sign_in()
    _, codes = alice.enrol()
    assert len(set(codes)) == 10
    first, second = visitor(user=alice.user), visitor(user=alice.user)
    first.sign_in()
    assert first.send_code(codes[0].upper().replace("-", " ")).status_code == 302
    assert first.is_in
    second.sign_in()
    assert second.send_code(codes[0]).status_code == 200
    assert not second.is_in
    event = AuditEvent.objects.get(action="second_factor.recovery_code", target_id=str(alice.user.pk))
    assert event.after == {"codes_left": 9}


def test_nothing_that_lets_in_is_stored_readable(visitor):
    alice = visitor()
    alice.sign_in()
    app, codes = alice.enrol()
    rows = str(list(SecondFactor.objects.values())) + str(list(RecoveryCode.objects.values()))
    rows += str(list(AuditEvent.objects.filter(target_id=str(alice.user.pk)).values()))
    rows += str(dict(alice.http.session))
    assert app.secret not in rows
    for code in codes:
        assert code not in rows
        assert code.replace("-", "") not in rows


def test_guessing_codes_locks_even_with_the_right_password_in_between(visitor):
    alice = visitor()
    alice.sign_in()
    app, _ = alice.enrol()
    thief = visitor(user=alice.user)
    for number in range(7):
        thief.sign_in()
        answer = thief.send_code(f"00000{number}")
    assert "Too many failed attempts" in answer.content.decode()
    thief.sign_in()
    thief.send_code(next_code(app))
    assert not thief.is_in


def test_the_second_step_is_for_five_minutes_and_for_that_password(visitor, monkeypatch):
    alice = visitor()
    alice.sign_in()
    app, _ = alice.enrol()
    late = visitor(user=alice.user)
    late.sign_in()
    session = late.http.session
    session["door.pending"] = {**session["door.pending"], "at": time.time() - 301}
    session.save()
    assert late.send_code(next_code(app)).url == reverse("admin:login")
    other = visitor(user=alice.user)
    other.sign_in()
    alice.user.set_password("quite another password 99")
    alice.user.save()
    assert other.send_code(next_code(app)).url == reverse("admin:login")
    assert not other.is_in


def test_enrolment_needs_the_code_that_the_app_shows(visitor):
    alice = visitor()
    alice.sign_in()
    page = alice.http.get(reverse("admin:second_factor"))
    assert "<svg" in page.content.decode()
    wrong = alice.http.post(reverse("admin:second_factor"), {"code": "000000"})
    assert "not the code" in wrong.content.decode()
    assert not SecondFactor.objects.filter(user=alice.user).exists()
    # The picture stays the same after a slip, so that the app need not be set up again.
    assert wrong.context["secret"] == page.context["secret"]


def test_setting_an_app_up_ends_the_sessions_that_had_none(visitor):
    alice = visitor()
    elsewhere = visitor(user=alice.user)
    alice.sign_in()
    elsewhere.sign_in()
    assert elsewhere.is_in
    alice.enrol()
    assert not elsewhere.is_in
    assert alice.is_in


def test_a_session_that_came_in_without_the_factor_is_ended(visitor):
    """Whatever way it came about: here by a login that knows nothing of second factors."""
    alice = visitor()
    alice.sign_in()
    alice.enrol()
    other = visitor(user=alice.user)
    other.http.force_login(alice.user)
    assert not other.is_in


def test_a_group_that_must_have_one_can_do_nothing_before(visitor):
    group = Group.objects.create(name=fresh_slug("strict"))
    SignInPolicy.objects.create(group=group)
    alice = visitor("operator")
    alice.user.groups.add(group)
    alice.sign_in()
    page = reverse("admin:second_factor")
    for path in (reverse("admin:index"), reverse("admin:tenants_tenant_changelist"), reverse("admin:security")):
        assert alice.http.get(path).url == page
    poll = alice.http.get(reverse("admin:fleet"), headers={"HX-Request": "true"})
    assert poll["HX-Redirect"] == page
    refused = alice.http.get("/api/v1/tenants")
    assert refused.status_code == 403
    assert refused.json()["code"] == "second_factor_required"
    alice.enrol()
    assert alice.is_in
    assert alice.http.get("/api/v1/tenants").status_code == 200
    # …nor take it away again.
    alice.http.post(reverse("admin:remove_factor"))
    assert SecondFactor.objects.filter(user=alice.user).exists()


def test_the_setting_asks_everybody(visitor, settings):
    settings.REQUIRE_SECOND_FACTOR = True
    alice = visitor()
    alice.sign_in()
    assert alice.http.get(reverse("admin:index")).url == reverse("admin:second_factor")


def test_removing_ones_own_where_nothing_asks_for_it(visitor):
    alice = visitor()
    alice.sign_in()
    alice.enrol()
    alice.http.post(reverse("admin:remove_factor"))
    assert alice.is_in
    assert visitor(user=alice.user).sign_in().url == reverse("admin:index")
    assert AuditEvent.objects.filter(action="second_factor.remove", target_id=str(alice.user.pk)).exists()


def test_new_recovery_codes_replace_the_old(visitor):
    alice = visitor()
    alice.sign_in()
    _, old = alice.enrol()
    new = alice.http.post(reverse("admin:recovery_codes")).context["codes"]
    assert not set(old) & set(new)
    browser = visitor(user=alice.user)
    browser.sign_in()
    assert browser.send_code(old[0]).status_code == 200
    assert browser.send_code(new[0]).status_code == 302


def test_an_administrator_resets_a_lost_device_on_record(visitor):
    alice, boss = visitor(), visitor("administrator")
    alice.sign_in()
    alice.enrol()
    boss.sign_in()
    selected = {"action": "reset_second_factor", "_selected_action": [alice.user.pk]}
    boss.http.post(reverse("admin:auth_user_changelist"), selected)
    assert not alice.is_in
    assert visitor(user=alice.user).sign_in().url == reverse("admin:index")
    event = AuditEvent.objects.get(action="second_factor.reset", target_id=str(alice.user.pk))
    assert event.actor_label == boss.user.username


def test_the_reset_needs_permission_and_confirmation(visitor):
    alice, operator, boss = visitor(), visitor("operator"), visitor("administrator")
    alice.sign_in()
    alice.enrol()
    selected = {"action": "reset_second_factor", "_selected_action": [alice.user.pk]}
    operator.sign_in()
    assert operator.http.post(reverse("admin:auth_user_changelist"), selected).status_code == 403
    boss.sign_in()
    session = boss.http.session
    session["confirmed_at"] = time.time() - timedelta(minutes=6).total_seconds()
    session.save()
    answer = boss.http.post(reverse("admin:auth_user_changelist"), selected)
    assert answer.url.startswith(reverse("admin:confirm"))
    assert SecondFactor.objects.filter(user=alice.user).exists()


def test_the_command_resets(visitor):
    alice = visitor()
    alice.sign_in()
    alice.enrol()
    assert call("reset_second_factor", alice.user.username, "--reason", "lost")["ended_sessions"] == 1
    assert not alice.is_in
    assert refusal("reset_second_factor", alice.user.username, "--reason", "lost")[0] == 3
