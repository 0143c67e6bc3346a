"""How the log is doing, in a handful of look-ups."""

from __future__ import annotations

from typing import Any

from tenants.ledger.hashing import genesis
from tenants.ledger.keys import printable, public_keys
from tenants.ledger.sealer import lag
from tenants.models import AuditCheckpoint, AuditSeal, AuditSealer, AuditSink, AuditVerification


def status() -> dict[str, Any]:
    """The chain's end, what waits, what is signed, what was verified."""
    log_id = AuditSealer.objects.values_list("log_id", flat=True).get()
    end = AuditSeal.objects.order_by("-seq").first()
    waiting, oldest = lag()
    verifications = AuditVerification.objects.order_by("-id")
    return {
        "log": log_id,
        "seq": end.seq if end else 0,
        "hash": bytes(end.hash).hex() if end else genesis(log_id).hex(),
        "waiting": waiting,
        "waiting_since": oldest,
        "public_keys": [printable(key) for key in public_keys().values()],
        "checkpoint": AuditCheckpoint.objects.order_by("-number").first(),
        "places": list(AuditSink.objects.all()),
        "last_verification": verifications.first(),
        "last_full_verification": verifications.filter(full=True).first(),
    }
