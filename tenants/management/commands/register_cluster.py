"""`manage.py register_cluster`."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from tenants import clusters
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output
from tenants.management.passwords import read_password

PASSWORD_VARIABLE = "CLUSTER_PASSWORD"  # noqa: S105  (the name of a variable)
OPTIONS = ("description", "public_host", "public_port", "pool_target", "max_parallel", "log_path")


class Command(ControlPlaneCommand):
    help = (
        "Register a PostgreSQL database (15 or newer) as a cluster that tenants can live in.\n\n"
        "It is connected to, its version, rights and extensions are read, and what tenants share is made there "
        "(the role cp_tenants, the schema extensions). A database that cannot be used is refused with the reason "
        "and the statement that mends it. The login needs CREATEROLE, CREATE on the database, and "
        "pg_signal_backend.\n\n"
        "The password is never an argument, which everybody on this machine could read: it is taken from "
        f"--password-file (- is stdin), from {PASSWORD_VARIABLE} in the environment, or asked for."
    )
    examples = """
  manage.py register_cluster eu-2 --host db2.internal --dbname controlplane --username controlplane
  manage.py register_cluster eu-2 --host db2.internal --dbname cp --username cp --password-file /run/secrets/eu-2
  manage.py register_cluster eu-2 … --public-host pool.example.com --public-port 6432 --pool-target 20
  manage.py register_cluster bank-1 --host db9.internal --dbname cp --username cp --dedicated
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="a short name: letters, digits, hyphens")
        parser.add_argument("--host", required=True, help="where the control plane connects to")
        parser.add_argument("--port", type=natural, default=5432, help="default: 5432")
        parser.add_argument("--dbname", required=True, help="the database that holds the tenants' schemas")
        parser.add_argument("--username", required=True, help="the control plane's login there")
        parser.add_argument("--password-file", metavar="FILE", help="a file that holds the password; - is stdin")
        parser.add_argument("--sslmode", default="prefer", choices=clusters.SSL_MODES, help="default: prefer")
        parser.add_argument("--description", help="for people")
        parser.add_argument("--public-host", help="what tenants connect to, when it differs (a pooler, a proxy)")
        parser.add_argument("--public-port", type=natural, help="its port")
        parser.add_argument("--pool-target", type=natural, help="warm slots to keep (default: 10)")
        parser.add_argument(
            "--log-path", help="directory of its JSON log, when it is on this machine and not read by SQL"
        )
        parser.add_argument("--max-parallel", type=natural, help="schemas cloned at the same time (default: 4)")

        parser.add_argument(
            "--dedicated", action="store_true",
            help="reserve it for one tenant, on a plan of the tier cluster; others are never placed here",
        )  # fmt: skip

    def run(self, **options: Any) -> dict[str, Any]:
        given = {name: options[name] for name in OPTIONS if options[name] is not None}
        given |= {"dedicated": True, "pool_target": 0} if options["dedicated"] else {}
        address = {name: options[name] for name in ("name", "host", "port", "dbname", "username", "sslmode")}
        password = read_password(
            options["password_file"], given=os.environ.get(PASSWORD_VARIABLE), variable=PASSWORD_VARIABLE
        )
        return represent.cluster(clusters.register_cluster(**address, password=password, **given, **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(
            f"Cluster {document['name']} is registered",
            {
                "address": f"{document['host']}:{document['port']}/{document['dbname']}",
                "PostgreSQL": document["server_version"],
                "extensions": document["extensions"],
                "pool target": document["pool_target"],
                "max parallel": document["max_parallel"],
            },
        )
        if document["dedicated"]:
            out.line("It waits for a tenant on a plan of the tier cluster.", style="dim")
        else:
            out.line("Fill its warm pool: manage.py warm_pool --cluster " + document["name"], style="dim")
