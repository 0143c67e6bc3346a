"""`manage.py pooler_config`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Print PgBouncer's main file as the control plane wants it: transaction pooling, SCRAM, tenants' verifiers by "
        "auth_query, nobody but its own login in auth_file. It holds no secret and does not change with tenants: what "
        "does stands in the file it includes (`manage.py sync_poolers`).\n\n"
        'auth_file is one line, "cp_pooler" "PASSWORD", readable by PgBouncer alone.'
    )
    examples = """
  manage.py pooler_config > /etc/pgbouncer/pgbouncer.ini
  manage.py pooler_config --listen-addr 10.0.0.5 --pgbouncer 1.18
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--listen-addr", default="127.0.0.1", help="default: 127.0.0.1")
        parser.add_argument("--listen-port", type=natural, default=6432, help="default: 6432")
        parser.add_argument("--auth-file", default="/etc/pgbouncer/users.txt", help="default: /etc/pgbouncer/users.txt")
        parser.add_argument(
            "--included", default="/etc/pgbouncer/tenants.ini", help="default: /etc/pgbouncer/tenants.ini"
        )
        parser.add_argument("--log-file", default="", help="where it writes its log; default: to its standard error")
        parser.add_argument("--pgbouncer", metavar="VERSION", default="99", help="its version, if it is not a new one")

    def run(self, **options: Any) -> dict[str, Any]:
        parts = options["pgbouncer"].split(".")
        if not all(part.isdecimal() for part in parts):
            raise InvalidInput("A version is like 1.25.2.", field="pgbouncer")
        places = {name: options[name] for name in ("listen_addr", "listen_port", "auth_file", "included", "log_file")}
        return {"text": pooling.main_text(**places, version=tuple(int(part) for part in parts))}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        self.stdout.write(document["text"])
