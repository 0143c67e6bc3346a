"""What beat does for archives: looks at them, has base backups taken in time, and removes what the dead left."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.utils import timezone

from backups.models import ClusterArchive
from backups.pitr import archive as archives
from backups.pitr import services, workflows
from backups.schedule import next_moment, parse
from tenants.actors import BEAT, SYSTEM
from tenants.exceptions import ControlPlaneError

log = logging.getLogger(__name__)
TRIED_AGAIN_AFTER = timedelta(minutes=30)
ZONE = ZoneInfo("UTC")


def keep_archives() -> int:
    """Look at every working archive, and begin the base backups that are due. Returns how many were begun."""
    workflows.reap()
    begun = 0
    for archive in ClusterArchive.objects.select_related("cluster").filter(state=ClusterArchive.State.ACTIVE):
        try:
            archives.look(archive)
            begun += begin_due(archive, timezone.now())
        except ControlPlaneError as error:
            ClusterArchive.objects.filter(pk=archive.pk).update(last_error=str(error)[:500])
            log.warning("archive.not_kept", extra={"cluster": archive.cluster.name, "error": error.code})
    return begun


def begin_due(archive: ClusterArchive, now: datetime) -> bool:
    """Begin the base backup that is due at `now`, if one is; after a failure it is tried again half an hour later."""
    kind = due_kind(archive, now)
    if kind is None or services.open_base_backup(archive):
        return False
    turn = ClusterArchive.objects.filter(pk=archive.pk).filter(
        Q(attempted_at__isnull=True) | Q(attempted_at__lte=now - TRIED_AGAIN_AFTER)
    )
    if not turn.update(attempted_at=now):
        return False
    services.base_backup(cluster=archive.cluster, kind=kind, actor=SYSTEM, source=BEAT)
    return True


def due_kind(archive: ClusterArchive, now: datetime) -> str | None:
    """`full` when there is none or its time has come since the last one; else `diff` by its own schedule; else None."""
    started = {each["kind"]: datetime.fromisoformat(each["started"]).astimezone(UTC) for each in archive.base_backups}
    if "full" not in started or next_moment(parse(archive.full_schedule), ZONE, started["full"]) <= now:
        return "full"
    if next_moment(parse(archive.diff_schedule), ZONE, max(started.values())) <= now:
        return "diff"
    return None
