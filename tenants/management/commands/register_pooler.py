"""`manage.py register_pooler`."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, natural
from tenants.management.output import Output
from tenants.management.passwords import read_password

PASSWORD_VARIABLE = "POOLER_PASSWORD"  # noqa: S105  (the name of a variable)


class Command(ControlPlaneCommand):
    help = (
        "Put a PgBouncer in front of a cluster: from now on its tenants are told the pooler's address (unless the "
        "cluster has a public host of its own).\n\n"
        "Its console is logged in to, its included file written (when --config-path names it, which must be on this "
        "machine and the workers'), and its way to the server tried; a pooler that does not work is refused with the "
        "reason. The superuser of the cluster runs tenants/pooling/pooler.sql before, and gives the role cp_pooler "
        "a password; `manage.py pooler_config` prints PgBouncer's main file.\n\n"
        f"The password of cp_pooler is taken from --password-file (- is stdin), from {PASSWORD_VARIABLE} in the "
        "environment, or asked for."
    )
    examples = """
  manage.py register_pooler eu-2 --host pool.internal --config-path /etc/pgbouncer/tenants.ini
  manage.py register_pooler eu-2 --host 127.0.0.1 --server-host /run/postgresql --password-file /run/secrets/pooler
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cluster", help="the cluster it stands in front of")
        parser.add_argument("--host", required=True, help="where it listens")
        parser.add_argument("--port", type=natural, default=6432, help="default: 6432")
        parser.add_argument("--username", default="cp_pooler", help="its own login (default: cp_pooler)")
        parser.add_argument("--password-file", metavar="FILE", help="a file that holds the password; - is stdin")
        parser.add_argument("--config-path", default="", help="the file it includes, for workers to write")
        parser.add_argument("--log-path", default="", help="its own log (logfile), when this machine can read it")
        parser.add_argument(
            "--server-host", default="", help="how it reaches the server: a host, or a socket's directory"
        )
        parser.add_argument("--server-port", type=natural, help="the server's port, seen from there")

    def run(self, **options: Any) -> dict[str, Any]:
        cluster = find_cluster(options["cluster"])
        password = read_password(
            options["password_file"], given=os.environ.get(PASSWORD_VARIABLE), variable=PASSWORD_VARIABLE
        )
        names = ("host", "port", "username", "config_path", "log_path", "server_host", "server_port")
        given = {name: options[name] for name in names}
        return represent.pooler(pooling.register_pooler(cluster=cluster, password=password, **given, **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(
            f"Tenants of {document['cluster']} connect to the pooler",
            {
                "address": f"{document['host']}:{document['port']}",
                "PgBouncer": document["version"],
                "server": f"{document['server_host']}:{document['server_port']}",
                "file": document["config_path"] or "not ours to write",
            },
        )
        for warning in document["warnings"]:
            out.remark(warning)
