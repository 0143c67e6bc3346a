"""`health.py PROGRAM`: exit code 0 when the program of this container does its work, else 1 and why."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from pathlib import Path

BEAT_SILENCE_SECONDS = 120  # it sends something every five seconds, and notes every tenth in the registry

SEALER_SILENCE_SECONDS = 60  # it looks each second


def web() -> str:
    """The web server answers; asked under a name that it accepts."""
    host = os.environ.get("ALLOWED_HOSTS", "127.0.0.1").split(",")[0].strip().lstrip("*.") or "127.0.0.1"
    url = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/healthz"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, headers={"Host": host}), timeout=5) as answer:
        return "" if answer.status == 200 else f"/healthz answered {answer.status}"


def worker() -> str:
    """The worker of this host answers through the broker."""
    from controlplane.celery import app

    name = f"celery@{socket.gethostname()}"
    return "" if app.control.inspect(destination=[name], timeout=5).ping() else f"{name} does not answer"


def beat() -> str:
    """Periodic tasks have been sent of late."""
    import django

    django.setup()
    from django.db.models import Max
    from django.utils import timezone
    from django_celery_beat.models import PeriodicTask

    last = PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"]
    if last is None:
        return "no periodic task has been sent yet"
    age = (timezone.now() - last).total_seconds()
    return "" if age < BEAT_SILENCE_SECONDS else f"no periodic task has been sent for {age:.0f} s"


def reaper() -> str:
    """Every active cluster has been looked at of late, or is known to be away."""
    import django

    django.setup()
    from django.utils import timezone

    from tenants.models import Cluster
    from tenants.models.reaping import SILENT_AFTER

    watched = Cluster.objects.filter(reaper__seen_at__gt=timezone.now() - SILENT_AFTER)
    left = Cluster.objects.filter(host_cluster=None).exclude(pk__in=watched).order_by("name").first()
    return f"{left} has not been looked at for {SILENT_AFTER.total_seconds():.0f} s" if left else ""


def sealer() -> str:
    """The audit log has been looked at of late."""
    import django

    django.setup()
    from django.utils import timezone

    from tenants.models import AuditSealer

    ran = AuditSealer.objects.values_list("ran_at", flat=True).get()
    if ran is None:
        return "nothing has been sealed yet"
    age = (timezone.now() - ran).total_seconds()
    return "" if age < SEALER_SILENCE_SECONDS else f"the audit log was sealed {age:.0f} s ago"


def main(arguments: list[str]) -> int:
    """Check the program named in `arguments`."""
    checks = {"web": web, "worker": worker, "beat": beat, "reaper": reaper, "sealer": sealer}
    if len(arguments) != 1 or arguments[0] not in checks:
        print("usage: health.py web|worker|beat|reaper|sealer", file=sys.stderr)
        return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # a check is no process to be counted
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        reason = checks[arguments[0]]()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
