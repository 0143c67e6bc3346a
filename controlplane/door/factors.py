"""The second factor: six digits from an authenticator app (RFC 6238), or a recovery code."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets as random
import time
from typing import Any

import pyotp
import segno
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from controlplane.door.models import RecoveryCode, SecondFactor, SignInPolicy
from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput

ISSUER = "Tenant control plane"
RECOVERY_CODES = 10
STEP_SECONDS = 30


def is_enrolled(user: Any) -> bool:
    """Whether this person signs in with a second factor."""
    return SecondFactor.objects.filter(user=user).exists()


def is_required(user: Any) -> bool:
    """Whether the setting, or one of the person's groups, asks for a second factor."""
    if settings.REQUIRE_SECOND_FACTOR:
        return True
    return SignInPolicy.objects.filter(group__user=user, requires_second_factor=True).exists()


def new_secret() -> str:
    """A secret of 160 random bits for an authenticator app, in base32."""
    return pyotp.random_base32()


def qr_code(user: Any, secret: str) -> str:
    """The secret as a QR code: an SVG, drawn here; no other host learns of it."""
    address = pyotp.TOTP(secret).provisioning_uri(name=user.get_username(), issuer_name=ISSUER)
    drawing = io.BytesIO()
    segno.make(address, error="m").save(
        drawing, kind="svg", scale=5, xmldecl=False, svgns=True, light="#fff", title="QR code for your app"
    )
    return drawing.getvalue().decode()


def _matching_counter(secret: str, code: str, *, after: int) -> int | None:
    """The time step that this code belongs to: now, the one before or the one after, and later than `after`."""
    totp, now = pyotp.TOTP(secret), int(time.time()) // STEP_SECONDS
    fits = [step for step in (now - 1, now, now + 1) if pyotp.utils.strings_equal(totp.generate_otp(step), code)]
    return next((step for step in fits if step > after), None)


@transaction.atomic
def enrol(*, user: Any, secret: str, code: str, actor: Actor, source: Source) -> list[str]:
    """Take the app that shows `code` as the person's second factor, in place of an earlier one. Returns new recovery
    codes, to be shown once. Raises InvalidInput when the code is not right."""
    counter = _matching_counter(secret, _digits(code), after=0)
    if counter is None:
        raise InvalidInput("This is not the code that the app shows now.", field="code")
    values = {"secret": secrets.encrypt(secret), "last_counter": counter, "created_at": timezone.now()}
    SecondFactor.objects.update_or_create(user=user, defaults=values)
    audit.record("second_factor.enrol", actor=actor, source=source, target=user)
    return _replace_codes(user)


@transaction.atomic
def renew_codes(*, user: Any, actor: Actor, source: Source) -> list[str]:
    """New recovery codes in place of the old ones. Raises Conflict for who has no second factor."""
    if not is_enrolled(user):
        raise Conflict("There is no second factor to recover.", code="not_enrolled")
    audit.record("second_factor.renew_codes", actor=actor, source=source, target=user)
    return _replace_codes(user)


def _replace_codes(user: Any) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    codes = [base64.b32encode(random.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(code)) for code in codes)
    return ["-".join(code[i : i + 4] for i in range(0, 16, 4)) for code in codes]


def _digits(code: str) -> str:
    return "".join(code.split())


def _digest(code: str) -> str:
    plain = "".join(character for character in code.lower() if character.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


@transaction.atomic
def verify(*, user: Any, code: str, actor: Actor, source: Source) -> bool:
    """Whether `code` is the app's present one, or a recovery code; either works this once."""
    factor = SecondFactor.objects.select_for_update().filter(user=user).first()
    if factor is None:
        return False
    counter = _matching_counter(secrets.decrypt(factor.secret), _digits(code), after=factor.last_counter)
    if counter is not None:
        factor.last_counter = counter
        factor.save(update_fields=["last_counter"])
        return True
    unused = RecoveryCode.objects.filter(user=user, used_at=None)
    if not unused.filter(digest=_digest(code)).update(used_at=timezone.now()):
        return False
    left = {"codes_left": unused.count()}
    audit.record("second_factor.recovery_code", actor=actor, source=source, target=user, after=left)
    return True


@transaction.atomic
def remove(*, user: Any, reason: str = "", actor: Actor, source: Source) -> None:
    """Take the second factor away: by its owner, or by an administrator when the device is lost.

    Raises Conflict when there is none. Sessions are the caller's to end (see `sessions.end_all`).
    """
    if not SecondFactor.objects.filter(user=user).delete()[0]:
        raise Conflict(f"{user.get_username()} has no second factor.", code="not_enrolled")
    RecoveryCode.objects.filter(user=user).delete()
    own = actor.kind == "user" and actor.id == str(user.pk)
    action = "second_factor.remove" if own else "second_factor.reset"
    audit.record(action, actor=actor, source=source, target=user, reason=reason)
