"""How often somebody may be wrong.

Three limits, each over the same window (`LOGIN_LOCK_SECONDS`):

- one name from one address: `LOGIN_ATTEMPTS`;
- one address, whatever the names: ten times as many;
- one name, whatever the addresses: ten times as many (twice for codes, which are short). This one does not hold for
  addresses from which the person has signed in within 30 days, so nobody can be shut out by strangers for good.

An attempt is written down before it is looked at and taken back when it was right: whoever tries in many processes at
once gets no more attempts than whoever tries one by one. What is refused is not counted, so a lock always ends.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from controlplane.door.models import SignInAttempt
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import ControlPlaneError, NotFound
from tenants.models import AuditEvent

MANY = 10
MANY_CODES = 2
KNOWN_ADDRESS = timedelta(days=30)


class TooManyAttempts(ControlPlaneError):
    """Too many failed attempts."""

    code, status = "too_many_attempts", 429


def _digest(name: str) -> str:
    return salted_hmac("controlplane.door.lockout", name.strip().casefold(), algorithm="sha256").hexdigest()


def _since() -> datetime:
    return timezone.now() - timedelta(seconds=settings.LOGIN_LOCK_SECONDS)


def _ip(source: Source) -> str:
    return source.ip or "unknown"


def begin(name: str, *, source: Source, is_code: bool = False) -> SignInAttempt:
    """Write an attempt down. Raises TooManyAttempts when it is one too many; then it is not counted."""
    attempt = SignInAttempt.objects.create(name_digest=_digest(_key(name, is_code)), ip=_ip(source))
    until = _locked_until(attempt, name, source, is_code)
    if until is not None:
        attempt.delete()
        minutes = max(1, round((until - timezone.now()).total_seconds() / 60))
        raise TooManyAttempts(
            f"Too many failed attempts. Try again in {minutes} min, or ask an administrator to unlock you."
        )
    return attempt


def _key(name: str, is_code: bool) -> str:
    return f"code:{name}" if is_code else name


def _locked_until(attempt: SignInAttempt, name: str, source: Source, is_code: bool) -> datetime | None:
    recent = SignInAttempt.objects.filter(at__gt=_since())
    limit = settings.LOGIN_ATTEMPTS
    mine = recent.filter(name_digest=attempt.name_digest)
    for rows, allowed in ((mine.filter(ip=attempt.ip), limit), (recent.filter(ip=attempt.ip), limit * MANY)):
        if until := _end(rows, allowed):
            return until
    if until := _end(mine, limit * (MANY_CODES if is_code else MANY)):
        return None if _knows_address(name, source) else until
    return None


def _end(rows: QuerySet[SignInAttempt], allowed: int) -> datetime | None:
    """When so many of the rows are too old to count that there is room for one more (the newest is the refused one);
    None when there is room now. One look, since others who are refused at the same moment take theirs away."""
    at = rows.order_by("-at").values_list("at", flat=True)[allowed : allowed + 1].first()
    return at and at + timedelta(seconds=settings.LOGIN_LOCK_SECONDS)


def _knows_address(name: str, source: Source) -> bool:
    user = get_user_model()._default_manager.filter(username=name).first()
    return bool(
        user
        and source.ip
        and AuditEvent.objects.filter(
            action="login.success", actor_kind="user", actor_id=str(user.pk), ip=source.ip,
            at__gt=timezone.now() - KNOWN_ADDRESS,
        ).exists()
    )  # fmt: skip


def failed(attempt: SignInAttempt, *, actor: Actor, source: Source) -> None:
    """It stays counted. The last one that is allowed leaves a `login.locked` event: from now on there is a wait."""
    pair = SignInAttempt.objects.filter(name_digest=attempt.name_digest, ip=attempt.ip, at__gt=_since())
    if pair.count() == settings.LOGIN_ATTEMPTS:
        audit.record(
            "login.locked", actor=actor, source=source, outcome=AuditEvent.Outcome.DENIED,
            after={"seconds": settings.LOGIN_LOCK_SECONDS},
        )  # fmt: skip


def passed(attempt: SignInAttempt) -> None:
    """It was right: it is not counted. Earlier failures still are; see `forget`."""
    attempt.delete()


def forget(name: str, *, source: Source) -> None:
    """Forget the name's failures from this address: somebody is really in. (Not before the code is right: else each
    right password would buy more guesses at it.)"""
    digests = [_digest(name), _digest(_key(name, True))]
    SignInAttempt.objects.filter(name_digest__in=digests, ip=_ip(source)).delete()


def unlock(*, username: str, reason: str = "", actor: Actor, source: Source) -> int:
    """Forget all failures of this name, whatever the address. Returns how many there were. Raises NotFound."""
    user = get_user_model()._default_manager.filter(username=username).first()
    if user is None:
        raise NotFound(f"There is no user {username}.")
    digests = [_digest(username), _digest(_key(username, True))]
    count, _ = SignInAttempt.objects.filter(name_digest__in=digests).delete()
    audit.record("login.unlock", actor=actor, source=source, target=user, after={"attempts": count}, reason=reason)
    return count


def forget_old() -> int:
    """Delete attempts that no longer count. Returns how many."""
    return SignInAttempt.objects.filter(at__lt=_since()).delete()[0]
