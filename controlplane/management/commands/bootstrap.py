"""`manage.py bootstrap`: what a fresh control plane needs once."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane.bootstrap import bootstrap
from tenants.exceptions import ControlPlaneError


class Command(BaseCommand):
    help = (
        "Make the default cluster, plans, groups, the reference template, a warm pool, an operator and an API key. "
        "Can be run again at any time: what is there stays as it is. Credentials are printed once, when made."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--pool-target", type=int, default=10, help="warm slots to keep (first run only)")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        def tell(name: str, seconds: float) -> None:
            if not options["json"]:
                self.stdout.write(f"  {name:<28} {seconds:6.2f} s")

        try:
            report = bootstrap(pool_target=options["pool_target"], tell=tell)
        except ControlPlaneError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"steps": report.steps, "credentials": report.credentials}))
            return
        for name, value in report.credentials.items():
            self.stdout.write(f"  {name:<9} {value}")
