"""What backups can say of a tenant's health: how it is covered, and whether that was proven."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from backups.facts import FIRST_BACKUP
from backups.models import BackupStatus, RestoreDrill
from backups.policy import Policy
from backups.services import policies
from backups.services.due import SCHEDULED
from tenants.health import Check, Checker, Status, register, shared
from tenants.models import Tenant


def register_checks() -> None:
    """Make them known."""
    register(Checker("backup", known=backup))
    register(Checker("proven_restore", known=proven_restore))


def _status(tenant: Tenant) -> BackupStatus | None:
    return shared("backup status", BackupStatus.objects.filter(tenant=tenant).first)


def _policy(tenant: Tenant) -> Policy:
    return shared("backup policy", lambda: policies.promised(tenant))


def backup(tenant: Tenant) -> Check | None:
    """The age of what covers it, in seconds, against what its policy allows."""
    if tenant.state not in SCHEDULED:
        return None
    now, status = timezone.now(), _status(tenant)
    policy = _policy(tenant)
    covered = status.covered_until if status else None
    age = (now - (covered or tenant.created_at)).total_seconds()
    check = Check("backup", Status.OK, value=age, limit=policy.alert_after_hours * 3600.0, unit="seconds", taken_at=now)
    if not policy.enabled:
        return check.but(limit=None, value=age if covered else None, reason="Its policy wants no backups.")
    if status is not None and status.failures:
        return check.but(
            status=Status.CRITICAL, reason=f"{status.failures} failed since the last good one: {status.last_error}",
            next_step="Repair what the error names; then back it up by hand.",
        )  # fmt: skip
    if age > policy.alert_after_hours * 3600:
        return check.but(status=Status.CRITICAL, reason="Its newest good backup is too old." if covered else
                         "It was never backed up.", next_step="Back it up now; see why beat did not.")  # fmt: skip
    if covered is None:
        late = age > FIRST_BACKUP.total_seconds()
        return check.but(status=Status.WARNING if late else Status.OK, reason="It was not backed up yet.",
                         next_step="Back it up now." if late else "")  # fmt: skip
    return check.but(reason="A good backup covers it.")


def proven_restore(tenant: Tenant) -> Check | None:
    """The age of the last proof that it can be restored, in seconds, against twice the policy's turn."""
    if tenant.state not in SCHEDULED:
        return None
    now, policy = timezone.now(), _policy(tenant)
    turn = timedelta(days=policy.drill_every_days)
    rows = RestoreDrill.objects.filter(tenant=tenant).exclude(state=RestoreDrill.State.RUNNING)
    last = rows.first()
    status = _status(tenant)
    proven = status.last_proven_at if status else None
    age = (now - proven).total_seconds() if proven else None
    check = Check(
        "proven_restore", Status.OK, "A backup of it was restored and compared.", "", age,
        2 * turn.total_seconds() or None, "seconds", proven or now,
    )  # fmt: skip
    if last is not None and last.state == RestoreDrill.State.FAILED:
        return check.but(status=Status.CRITICAL, reason=f"The last restore drill failed: {last.error}",
                         next_step="Look at the drill; verify its backups and take a new one.")  # fmt: skip
    if not turn:
        return check.but(reason="Its policy wants no drills.")
    if (now - (proven or tenant.created_at)) > 2 * turn:
        return check.but(status=Status.WARNING, reason="Its last proof is long ago." if proven else
                         "No backup of it was ever proven.", next_step="Run manage.py drill_backup.")  # fmt: skip
    return check if proven else check.but(reason="It is new: its turn for a restore drill comes.")
