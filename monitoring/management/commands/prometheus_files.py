"""`manage.py prometheus_files`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from monitoring.prometheus import files
from monitoring.prometheus.config import Places
from tenants.exceptions import Conflict, InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output

SHIPPED = Places()


class Command(ControlPlaneCommand):
    help = (
        "Make the files for Prometheus and Alertmanager from the rules that alerts go by (prometheus/prometheus.yml, "
        "rules.yml, rules.test.yml for promtool, alertmanager.yml), and Grafana's dashboards (grafana/). With --write "
        "into a directory; with --check only compared with what is there, and the exit code is not 0 when anything "
        "differs. Neither: their paths.\n\n"
        "They hold the rules as they are shipped. Rules that were edited here are evaluated here; have alerts sent to "
        "an Alertmanager by a notification channel instead, or by both."
    )
    examples = """
  manage.py prometheus_files --check docker
  manage.py prometheus_files --write made --target controlplane.internal:8000 \\
      --alertmanager 127.0.0.1:9093 --token-file /etc/prometheus/token \\
      --runbooks https://controlplane.example.com/admin/runbooks
"""

    def arguments(self, parser: CommandParser) -> None:
        doing = parser.add_mutually_exclusive_group()
        doing.add_argument("--write", metavar="DIRECTORY", type=Path, help="write what differs there")
        doing.add_argument("--check", metavar="DIRECTORY", type=Path, help="say what differs there")
        parser.add_argument(
            "--target", default=SHIPPED.target, metavar="HOST:PORT", help=f"the web server; default: {SHIPPED.target}"
        )
        parser.add_argument(
            "--alertmanager", default=SHIPPED.alertmanager, metavar="HOST:PORT",
            help=f"default: {SHIPPED.alertmanager}",
        )  # fmt: skip
        parser.add_argument(
            "--token-file", default=SHIPPED.token_file, metavar="FILE",
            help=f"where Prometheus finds METRICS_TOKEN; default: {SHIPPED.token_file}",
        )  # fmt: skip
        parser.add_argument(
            "--runbooks", default=SHIPPED.pages_at, metavar="URL",
            help=f"where the runbooks are; default: {SHIPPED.pages_at}",
        )  # fmt: skip

    def run(self, **options: Any) -> dict[str, Any]:
        places = Places(options["target"], options["alertmanager"], options["token_file"], options["runbooks"])
        made = files.generated(places)
        if options["write"]:
            try:
                return {"written": files.write(options["write"], made)}
            except OSError as error:
                raise InvalidInput(f"{options['write']}: {error.strerror}.", field="write") from error
        if options["check"] and (differing := files.differing(options["check"], made)):
            raise Conflict(
                f"Not as they would be made: {', '.join(differing)}.", code="files_differ",
                hint=f"manage.py prometheus_files --write {options['check']}",
            )  # fmt: skip
        return {"files": list(made)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        for path in document.get("written", document.get("files", [])):
            self.stdout.write(path)
