"""`manage.py bench_provisioning`: how fast tenants come to be."""

from __future__ import annotations

import json
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from provisioning.bench import report
from provisioning.bench.options import ROWS, Options, template_directory
from provisioning.bench.run import run
from tenants.exceptions import ControlPlaneError


class Command(BaseCommand):
    help = (
        "Measure provisioning in one run: raw replay of the clone script (the limit), cold and warm provisioning, "
        "POSTs over HTTP, django-tenants' clone and migrate of the same tables, and bursts of concurrent POSTs; "
        "medians, p99, ratios, and the goals met or missed. Everything happens in a database of its own on the "
        "server of DATABASE_URL, which is dropped at the end with all its roles. Servers of its own: `make bench`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        parser.add_argument("--rounds", type=int, default=15, help="goes of each row, in turns (default 15)")
        parser.add_argument("--concurrent", type=int, default=100, help="requests at once in the bursts (default 100)")
        parser.add_argument(
            "--only", action="append", choices=list(ROWS), metavar="ROW",
            help=f"measure only this row (can be repeated): {', '.join(ROWS)}",
        )  # fmt: skip
        parser.add_argument(
            "--template", default="trading",
            help="a reference template's name, or a directory of numbered SQL files (default: trading)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        document = self._run(options)
        if options["json"]:
            self.stdout.write(json.dumps(document, indent=2))
        else:
            width = None if self.stdout.isatty() else 110
            report.show(document, Console(file=cast(IO[str], self.stdout), width=width))
        if any(row["error"] for row in document["rows"].values()):
            raise CommandError("Some rows could not be measured.")

    def _run(self, options: dict[str, Any]) -> dict[str, Any]:
        directory = template_directory(options["template"])
        if directory is None:
            raise CommandError(f"There is no template '{options['template']}', and no such directory.")
        if options["rounds"] < 1 or options["concurrent"] < 1:
            raise CommandError("--rounds and --concurrent are at least 1.")
        only = tuple(name for name in ROWS if not options["only"] or name in options["only"])
        try:
            return run(Options(options["rounds"], options["concurrent"], only, str(directory)))
        except ControlPlaneError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError("Interrupted; everything was taken away.", returncode=130) from error
