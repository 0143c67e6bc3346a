"""`manage.py archive_cluster`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.pitr.setting_up import set_up_archive
from tenants.management.base import ControlPlaneCommand
from tenants.management.commands.prepare_cluster import superuser_url_of
from tenants.management.lookup import find_cluster, natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Have a cluster's server archive its WAL and keep base backups with pgBackRest (Debian: apt-get install "
        "pgbackrest), so that each of its tenants can be brought back as it was at any moment: see restore_tenant.\n\n"
        "It must run on the server's own machine, as the server's account or as root (who becomes that account), and "
        "so must the worker. It writes pgBackRest's configuration with a random password for the repository (AES-256), "
        "makes the login cp_archive, sets archive_mode and archive_command, makes the stanza and tries it. Where "
        "archive_mode was off the server has to be restarted, and this be said once more.\n\n"
        "The superuser's connection string is taken from --superuser-url-file (- is stdin) or CLUSTER_SUPERUSER_URL "
        "and kept nowhere. Without it the SQL is shown that a superuser has to run; then say this once more."
    )
    examples = """
  manage.py archive_cluster default --directory /var/lib/archive/default --superuser-url-file /run/secrets/superuser_url
  manage.py archive_cluster default --directory /var/lib/archive/default --repository /mnt/backup/pgbackrest
  manage.py base_backup default --wait
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the cluster")
        parser.add_argument("--directory", required=True, metavar="PATH", help="configuration, logs, scratch instances")
        parser.add_argument("--repository", default="", metavar="PATH", help="default: repository in the directory")
        parser.add_argument("--superuser-url-file", metavar="FILE", help="a file with postgres://USER:PASSWORD@HOST/…")
        parser.add_argument("--keep-full", type=natural, metavar="N", help="full base backups kept (at first: 2)")
        parser.add_argument("--full", metavar="CRON", help="when full ones are taken, UTC (at first: 15 1 * * 0)")
        parser.add_argument("--diff", metavar="CRON", help="when differences are taken (at first: 15 1 * * 1-6)")

    def run(self, **options: Any) -> dict[str, Any]:
        given = {"keep_full": options["keep_full"], "full_schedule": options["full"], "diff_schedule": options["diff"]}
        done = set_up_archive(
            cluster=find_cluster(options["name"]), directory=options["directory"], repository=options["repository"],
            superuser_url=superuser_url_of(options["superuser_url_file"]),
            **{name: value for name, value in given.items() if value is not None}, **self.caller,
        )  # fmt: skip
        return {**represent.archive(done.archive), "todo": list(done.todo), "restart": done.restart}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if document["todo"]:
            out.line("-- For a superuser, in the cluster's database:")
            out.line("\n".join(f"{statement};" for statement in document["todo"]))
        if document["restart"]:
            out.line("Restart the server, then say this once more: WAL is archived only from then on.")
        elif document["state"] == "active":
            out.line(f"{document['cluster']} archives its WAL into {document['repository']}.")
            if not document["base_backups"]:
                out.line(
                    f"Nothing can be recovered before a first base backup: manage.py base_backup {document['cluster']}"
                )
