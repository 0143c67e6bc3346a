"""Who is wrong too often waits; who is somebody else does not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from controlplane.door import lockout
from controlplane.door.models import SignInAttempt
from tenants.actors import Source
from tenants.models import AuditEvent
from tests.commands.support import call, refusal
from tests.door.conftest import some_ip
from tests.support.fixtures import fresh_slug


def fail(visitor, times):
    for _ in range(times):
        visitor.sign_in("wrong")


def test_after_five_failures_the_right_password_waits_too(visitor):
    alice = visitor()
    fail(alice, 4)
    assert alice.sign_in().status_code == 302
    alice.http.logout()
    fail(alice, 5)
    answer = alice.sign_in()
    assert answer.status_code == 200
    assert "Too many failed attempts" in answer.content.decode()
    assert not alice.is_in


def test_the_wait_ends_and_refused_attempts_do_not_make_it_longer(visitor, settings):
    alice = visitor()
    fail(alice, 5)
    fail(alice, 20)
    ago = timezone.now() - timedelta(seconds=settings.LOGIN_LOCK_SECONDS + 1)
    assert SignInAttempt.objects.filter(ip=alice.http.defaults["REMOTE_ADDR"]).update(at=ago) == 5
    assert alice.sign_in().status_code == 302


def test_a_stranger_elsewhere_does_not_shut_the_owner_out(visitor):
    alice = visitor()
    fail(visitor(user=alice.user), 8)
    assert alice.sign_in().status_code == 302


def test_many_addresses_together_are_stopped_but_not_the_address_the_owner_comes_from(visitor, settings):
    settings.LOGIN_ATTEMPTS = 2
    alice = visitor()
    assert alice.sign_in().status_code == 302
    alice.http.logout()
    for _ in range(10):
        fail(visitor(user=alice.user), 2)
    assert "Too many" in visitor(user=alice.user).sign_in().content.decode()
    assert alice.sign_in().status_code == 302


def test_one_address_cannot_try_one_password_on_everybody(visitor, settings):
    settings.LOGIN_ATTEMPTS = 2
    ip = some_ip()
    for _ in range(20):
        visitor(ip=ip).sign_in("wrong")
    assert "Too many" in visitor(ip=ip).sign_in().content.decode()
    assert visitor().sign_in().status_code == 302


def test_names_that_do_not_exist_are_locked_alike(visitor):
    ghost = visitor()
    ghost.user.username = fresh_slug("ghost")
    fail(ghost, 5)
    assert "Too many failed attempts" in ghost.sign_in("wrong").content.decode()


def test_attempts_at_the_same_time_are_all_counted(settings):
    """Twenty at once, as from many processes: five are looked at, whatever the order."""
    name, source, barrier = fresh_slug(), Source(channel="admin", ip=some_ip()), threading.Barrier(20)

    def attempt(_):
        try:
            barrier.wait(10)
            lockout.begin(name, source=source)
        except lockout.TooManyAttempts:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(20) as pool:
        passed = sum(pool.map(attempt, range(20)))
    assert passed <= settings.LOGIN_ATTEMPTS
    assert SignInAttempt.objects.filter(ip=source.ip).count() == passed


def test_a_lock_is_recorded_once_and_never_what_was_typed(visitor):
    alice = visitor()
    fail(alice, 9)
    events = AuditEvent.objects.filter(ip=alice.http.defaults["REMOTE_ADDR"])
    assert events.filter(action="login.locked").count() == 1
    assert events.filter(action="login.failure", actor_label=alice.user.username).count() == 5
    assert alice.user.username not in str(list(SignInAttempt.objects.values()))


def test_the_command_unlocks(visitor):
    alice = visitor()
    fail(alice, 5)
    assert call("unlock_login", alice.user.username)["forgotten_attempts"] == 5
    assert alice.sign_in().status_code == 302
    assert AuditEvent.objects.filter(action="login.unlock", target_id=str(alice.user.pk)).exists()
    assert refusal("unlock_login", fresh_slug())[0] == 4


def test_old_attempts_are_forgotten(visitor, settings):
    alice = visitor()
    fail(alice, 1)
    mine = SignInAttempt.objects.filter(ip=alice.http.defaults["REMOTE_ADDR"])
    lockout.forget_old()
    assert mine.count() == 1
    mine.update(at=timezone.now() - timedelta(seconds=settings.LOGIN_LOCK_SECONDS + 1))
    lockout.forget_old()
    assert not mine.exists()


@pytest.mark.parametrize("field", ["username", "password"])
def test_empty_forms_do_not_break_it(visitor, field):
    alice = visitor()
    fields = {"username": alice.user.username, "password": "x"}
    assert alice.http.post("/admin/login/", {**fields, field: ""}).status_code == 200
