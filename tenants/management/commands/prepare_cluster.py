"""`manage.py prepare_cluster`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants.exceptions import ClusterUnusable, InvalidInput
from tenants.hardening.levels import ORDER, Level
from tenants.hardening.prepare import Prepared, prepare_cluster
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output

URL_VARIABLE = "CLUSTER_SUPERUSER_URL"


class Command(ControlPlaneCommand):
    help = (
        "Close a cluster against curious tenants, up to a level, and say what stays open at it.\n\n"
        "`baseline` needs no superuser: only tenants' logins connect, nobody makes anything in public. `lockdown` "
        "takes statistics, activity, roles, large objects, advisory locks and languages from all but the control "
        "plane and installs the guard on migrators; psql's \\d of a table stops working for tenants. `sealed` also "
        "closes the catalogs: no introspection for tenants at all.\n\n"
        "It also makes the control plane's own logins of low privilege (provisioner, backup, monitor, reaper, pooler), "
        "with random passwords that are kept encrypted. It can be repeated, and should be after each restore and "
        "upgrade: check_clusters shows the level that the server is really at.\n\n"
        "The superuser's connection string is used for this once and kept nowhere. It is never an argument, which "
        f"everybody on this machine could read: it is taken from --superuser-url-file (- is stdin) or {URL_VARIABLE} "
        "in the environment. Without it (managed services) the cluster's own login does what it may."
    )
    examples = """
  manage.py prepare_cluster default --level lockdown --superuser-url-file /run/secrets/superuser_url
  manage.py prepare_cluster eu-2 --level sealed --dry-run      # shows the SQL, changes nothing
  manage.py prepare_cluster eu-2 --level baseline --json | jq .stays_open
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the cluster")
        parser.add_argument("--level", choices=[str(level) for level in ORDER[1:]], default=str(Level.LOCKDOWN))
        parser.add_argument("--superuser-url-file", metavar="FILE", help="a file with postgres://USER:PASSWORD@HOST/…")
        parser.add_argument("--dry-run", action="store_true", help="show the statements, and change nothing")

    def run(self, **options: Any) -> dict[str, Any]:
        done = prepare_cluster(
            cluster=find_cluster(options["name"]),
            level=options["level"],
            superuser_url=superuser_url_of(options["superuser_url_file"]),
            dry_run=options["dry_run"],
            **self.caller,
        )
        if not options["dry_run"] and ORDER.index(done.level) < ORDER.index(done.wanted):
            self.failure = ClusterUnusable(
                f"The level {done.wanted} was not reached: the cluster is {done.level}.",
                hint="Give a superuser's connection string." if not done.superuser else None,
            )
        return document(done)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if document["dry_run"]:
            out.line("\n".join(document["statements"]))
            out.line(f"-- {len(document['statements'])} statements, none of which was kept")
        verb = "would reach" if document["dry_run"] else "is at"
        out.line(f"{document['cluster']} {verb} the level {document['level']} (before: {document['before']}).")
        for line in document["stays_open"]:
            out.line(f"  stays open: {line}")
        for statement, reason in document["refused"]:
            out.line(f"  refused: {statement} ({reason})")
        for line in document["advice"]:
            out.line(f"  advice: {line}")


def document(done: Prepared) -> dict[str, Any]:
    """What preparing came to, as JSON."""
    return {
        "cluster": done.cluster.name,
        "dry_run": done.dry_run,
        "superuser": done.superuser,
        "before": done.before,
        "wanted": done.wanted,
        "level": done.level,
        "logins": done.logins,
        "statements": done.statements,
        "refused": done.refused,
        "open": done.open,
        "stays_open": done.stays_open,
        "advice": done.advice,
    }


def superuser_url_of(file: str | None) -> str:
    """A superuser's connection string, from a file or the environment; empty without one. Raises InvalidInput."""
    if file is None:
        return os.environ.get(URL_VARIABLE, "")
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", field="superuser_url_file") from error
    if not text.strip():
        raise InvalidInput(f"{file} is empty.", field="superuser_url_file")
    return text.strip()
