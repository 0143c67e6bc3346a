"""`manage.py change_backup_storage`."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import Storage
from backups.services import storages
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output
from tenants.management.passwords import read_password

SECRET_VARIABLE = "BACKUP_STORAGE_SECRET"  # noqa: S105  (the name of a variable)


class Command(ControlPlaneCommand):
    help = (
        "Change a place for backups: make it the default, stop it from taking new backups (they are still read and "
        "removed) or let it again, change its limits, its lock for new backups, or a bucket's access key. Where it is "
        "cannot be changed: what lies there would be lost from sight. Add another one instead.\n\n"
        "A new secret key is taken from --secret-file (- is stdin) or, with --access-key-id, also from "
        "BACKUP_STORAGE_SECRET in the environment, or asked for."
    )
    examples = """
  manage.py change_backup_storage eu --default
  manage.py change_backup_storage disk --disable
  manage.py change_backup_storage eu --access-key-id AK… --secret-file /run/secrets/s3
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what it is called")
        parser.add_argument("--default", action="store_true", default=None, dest="is_default", help="make it that")
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--disable", action="store_const", const=Storage.State.DISABLED, dest="state")
        state.add_argument("--enable", action="store_const", const=Storage.State.ACTIVE, dest="state")
        parser.add_argument("--lock", choices=Storage.Lock.values, dest="lock_mode")
        parser.add_argument("--lock-days", type=natural)
        parser.add_argument("--bandwidth", type=natural, metavar="KIB", help="KiB/s a backup; 0: no limit")
        parser.add_argument("--concurrency", type=natural, help="backups at a time")
        parser.add_argument("--access-key-id")
        parser.add_argument("--secret-file", metavar="FILE", help="a file that holds the new secret key; - is stdin")

    def run(self, **options: Any) -> dict[str, Any]:
        row = storages.get_storage(options["name"])
        changes = {name: options[name] for name in storages.EDITABLE if options[name] is not None}
        if "bandwidth" in changes:
            changes["bandwidth"] *= 1024
        secret = ""
        if options["access_key_id"] is not None:
            changes["access_key_id"] = options["access_key_id"]
        if options["access_key_id"] or options["secret_file"]:
            given = os.environ.get(SECRET_VARIABLE)
            secret = read_password(options["secret_file"], given=given, variable=SECRET_VARIABLE)
        if not changes and not secret:
            raise InvalidInput("Say what to change.", code="usage", hint="See --help.")
        return represent.storage(storages.update_storage(storage=row, changes=changes, secret=secret, **self.caller))

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        names = ("place", "state", "is_default", "lock_mode", "lock_days", "bandwidth", "concurrency")
        out.facts(f"Storage {document['name']}", {name: document[name] for name in names})
