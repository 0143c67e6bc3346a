"""`manage.py bootstrap`: what a fresh control plane needs once."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane.bootstrap import bootstrap
from controlplane.environment import Environment, secret
from tenants.exceptions import ControlPlaneError
from tenants.hardening.levels import ORDER, Level

env = Environment()


class Command(BaseCommand):
    help = (
        "Make the default cluster, plans, groups, the reference template, a warm pool, an operator and an API key. "
        "Can be run again at any time: what is there stays as it is. Credentials are printed once, when made. With a "
        "superuser's connection string in CLUSTER_SUPERUSER_URL (or a file in CLUSTER_SUPERUSER_URL_FILE) the "
        "cluster is also prepared (see prepare_cluster), up to ISOLATION_LEVEL, or to the level that it once had."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--pool-target", type=int, default=10, help="warm slots to keep (first run only)")
        parser.add_argument("--migrate", action="store_true", help="bring the registry's tables up to date first")
        parser.add_argument("--json", action="store_true", help="print one JSON document (steps go to stderr)")

    def handle(self, *args: Any, **options: Any) -> None:
        stream = self.stderr if options["json"] else self.stdout

        def tell(name: str, seconds: float) -> None:
            stream.write(f"  {name:<28} {seconds:6.2f} s", style_func=str)

        if options["migrate"]:  # here, not in a process of its own: starting Django takes longer than this
            begun = time.monotonic()
            call_command("migrate_schemas", "--shared", "--noinput", verbosity=0)
            tell("migrations", time.monotonic() - begun)
        try:
            report = bootstrap(
                pool_target=options["pool_target"],
                superuser_url=secret("CLUSTER_SUPERUSER_URL", default=""),
                level=env.choice("ISOLATION_LEVEL", ORDER[1:], default=Level.LOCKDOWN),
                tell=tell,
            )
        except ControlPlaneError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"steps": report.steps, "credentials": report.credentials}))
            return
        for name, value in report.credentials.items():
            self.stdout.write(f"  {name:<9} {value}")
