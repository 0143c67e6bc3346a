"""`manage.py add_backup_storage`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.services import storages
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output
from tenants.management.passwords import read_password

SECRET_VARIABLE = "BACKUP_STORAGE_SECRET"  # noqa: S105  (the name of a variable)


class Command(ControlPlaneCommand):
    help = (
        "Add a place for backups: a directory (that all workers see under the same path), or an S3-compatible bucket. "
        "It is tried before it is kept: something is written, read back, listed, locked where that is wanted, and "
        "removed. The first storage is the default.\n\n"
        "A bucket's secret key is taken from --secret-file (- is stdin), from BACKUP_STORAGE_SECRET in the "
        "environment, or asked for; it is stored encrypted and never shown. Without --access-key-id the machine's own "
        "credentials are used, as boto3 finds them."
    )
    examples = """
  manage.py add_backup_storage disk --path /var/backups/tenants
  manage.py add_backup_storage eu --bucket backups --endpoint-url https://s3.example.com --access-key-id AK… \\
      --secret-file /run/secrets/s3 --lock compliance --lock-days 30
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what it is called here")
        place = parser.add_mutually_exclusive_group(required=True)
        place.add_argument("--path", help="a directory")
        place.add_argument("--bucket", help="a bucket, which must exist")
        parser.add_argument("--prefix", default="", help="below which part of the bucket")
        parser.add_argument("--endpoint-url", default="", help="where S3 is, when it is not Amazon's")
        parser.add_argument("--region", default="")
        parser.add_argument("--addressing-style", default="", choices=["", *storages.ADDRESSING])
        parser.add_argument("--access-key-id", default="")
        parser.add_argument("--secret-file", metavar="FILE", help="a file that holds the secret key; - is stdin")
        parser.add_argument("--lock", default="none", choices=["none", "governance", "compliance"])
        parser.add_argument("--lock-days", type=natural, default=0, help="how long nobody can delete its files")
        parser.add_argument("--bandwidth", type=natural, default=0, metavar="KIB", help="KiB/s a backup; 0: no limit")
        parser.add_argument("--concurrency", type=natural, default=4, help="backups at a time (default: 4)")
        parser.add_argument("--default", action="store_true", help="backups go there whose policy names none")

    def run(self, **options: Any) -> dict[str, Any]:
        config, secret = {"path": options["path"]}, ""
        if options["path"]:
            config["path"] = str(Path(options["path"]))
        else:
            config = {name: options[name] for name in storages.S3_OPTIONS}
            secret = self._secret(options)
        row = storages.create_storage(
            name=options["name"], kind="local" if options["path"] else "s3", config=config, secret=secret,
            lock_mode=options["lock"], lock_days=options["lock_days"], bandwidth=options["bandwidth"] * 1024,
            concurrency=options["concurrency"], is_default=options["default"], **self.caller,
        )  # fmt: skip
        return represent.storage(row)

    def _secret(self, options: dict[str, Any]) -> str:
        if not options["access_key_id"]:
            if options["secret_file"]:
                raise InvalidInput("A secret key has an id.", field="access_key_id", hint="Give --access-key-id.")
            return ""
        given = os.environ.get(SECRET_VARIABLE)
        return read_password(options["secret_file"], given=given, variable=SECRET_VARIABLE)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(f"Storage {document['name']}", {name: document[name] for name in ("place", "state", "is_default")})
