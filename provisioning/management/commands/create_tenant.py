"""`manage.py create_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning import services
from provisioning.credentials import collect_credentials
from provisioning.management import show
from provisioning.management.limits import label_arguments, limit_arguments
from provisioning.services import Connection, Provisioned
from tenants.management.output import Output
from tenants.management.waiting import NO_WORKER, OperationCommand, what_to_do, workers_answer
from tenants.models import Operation


class Command(OperationCommand):
    help = (
        "Make a tenant: a schema of its own with everything the template has, its roles, and a login.\n\n"
        "With a slot waiting in the warm pool it is there at once, and its credentials are printed, this once. "
        "With an empty pool a worker makes the schema: --wait (the default on a terminal) follows it and prints "
        "the credentials when it is done; --no-wait returns at once, and collect_credentials fetches them later; "
        "--here does the work in this process when no worker is running."
    )
    examples = """
  manage.py create_tenant shop --name "Corner Shop" --plan business
  manage.py create_tenant shop --label region=eu --limit connection_limit=80
  psql "$(manage.py create_tenant shop --show-dsn-only)"
  manage.py create_tenant shop --json | jq -r .connection.dsn
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="its short name: 3 to 40 of a-z, 0-9 and single hyphens, a letter first")
        parser.add_argument("--name", help="its name for people (default: the slug)")
        parser.add_argument("--plan", help="default: the default plan")
        parser.add_argument("--template", help="default: the default template")
        parser.add_argument("--cluster", help="default: the default cluster")
        label_arguments(parser)
        limit_arguments(parser)
        show.dsn_argument(parser)
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        made = services.provision_tenant(
            name=options["slug"] if options["name"] is None else options["name"],
            slug=options["slug"],
            plan=options["plan"],
            template=options["template"],
            cluster=options["cluster"],
            labels=dict(options["label"] or ()),
            limits=dict(options["limit"] or ()),
            **self.caller,
        )
        connection = made.connection
        if connection is None and (self.waits(options) or options["show_dsn_only"]):
            made, connection = self._wait(made, options)
        return show.with_connection(made, connection)

    def _wait(self, made: Provisioned, options: dict[str, Any]) -> tuple[Provisioned, Connection]:
        if made.operation is None:  # pragma: no cover - there is one whenever there is no connection
            raise LookupError("operation")
        done = self.finish(made.operation, here=options["here"], timeout=options["timeout"])
        connection = collect_credentials(operation_id=done.pk, **self.caller)
        return Provisioned(services.get_tenant(made.tenant.pk), done, connection), connection

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if document["connection"] is None:
            self._show_waiting(document, out)
            return
        title = f"Tenant {document['slug']} is {document['state']}"
        if not options["show_dsn_only"]:
            out.facts(
                title,
                {
                    "id": document["id"],
                    "schema": document["schema_name"],
                    "plan": document["plan"],
                    "template": f"{document['template']} v{document['template_version']}",
                    "cluster": document["cluster"],
                    "seconds": document["operation"]["seconds"],
                },
            )
            out.line()
        show.print_connection("Credentials", document["connection"], out, dsn_only=options["show_dsn_only"])

    def _show_waiting(self, document: dict[str, Any], out: Output) -> None:
        operation = document["operation"]
        out.line(f"Tenant {document['slug']} is being made: no slot was waiting. Operation {operation['id']}.")
        out.line(f"Follow it: manage.py show_operation {operation['id']}", style="dim")
        out.line(f"Then, once: manage.py collect_credentials {operation['id']}", style="dim")
        if not workers_answer():
            out.remark(f"{NO_WORKER} {what_to_do(Operation(pk=operation['id']))}")
