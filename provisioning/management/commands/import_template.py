"""`manage.py import_template`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from provisioning import imports, resolve
from provisioning.django_apps import migrated_schema
from provisioning.models import TemplateVersion
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output
from tenants.models import Cluster
from tenants.schemas import compiler
from tenants.schemas.compiler import CompiledTemplate, DumpFile, LiveSchema, Source, SqlDirectory


class Command(ControlPlaneCommand):
    help = (
        "Make a template of a schema: it is compiled into a clone script, and two clones of it are made and compared "
        "with it, before it becomes the template's next version. The same content again makes no new version.\n\n"
        "Where from: --sql takes numbered .sql files (and a template.toml beside them that names time-series "
        "tables); --dump takes what pg_dump wrote, in any format; --schema takes a schema of the cluster's database; "
        "--django takes what the migrations of TENANT_APPS make.\n\n"
        "What cannot be cloned (objects outside the schema, what only a superuser may do, two schemas) is refused "
        "with the file, the statement and the reason, and nothing of it is kept. --dry-run does all of it except "
        "keeping."
    )
    examples = """
  manage.py import_template trading --sql provisioning/reference/trading --default
  manage.py import_template crm --dump crm.dump --no-data --description "CRM, October"
  manage.py import_template crm --schema crm_production --dry-run
  TENANT_APPS=shop,billing manage.py import_template shop --django
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the template's name: a-z, 0-9, _ and -, a letter first")
        origin = parser.add_mutually_exclusive_group(required=True)
        origin.add_argument("--sql", type=Path, metavar="DIR", help="a directory of .sql files, run in name order")
        origin.add_argument("--dump", type=Path, metavar="FILE", help="plain, custom, tar or directory format")
        origin.add_argument("--schema", metavar="LIVE", help="a schema of the cluster's own database")
        origin.add_argument("--django", action="store_true", help="the Django apps in TENANT_APPS")
        parser.add_argument("--default", action="store_true", help="for new tenants, unless they name another one")
        parser.add_argument("--description", default="", help="for people")
        parser.add_argument("--cluster", metavar="NAME", help="where to compile it (default: the default cluster)")
        parser.add_argument("--no-data", action="store_true", help="leave its rows and sequences' positions out")
        parser.add_argument("--dry-run", action="store_true", help="compile, prove and report; keep nothing")

    def run(self, **options: Any) -> dict[str, Any]:
        imports.check_template_name(options["name"])
        cluster = resolve.cluster(options["cluster"])
        with self.out.progress(f"compiling {options['name']}"), self._origin(cluster, options) as origin:
            if options["dry_run"]:
                compiled = compiler.compile_template(
                    origin, dsn=cluster.dsn(), reader=cluster.dsn("backup"), with_data=not options["no_data"]
                )
                return self._preview(compiled, options)
            version, new = imports.import_template(
                name=options["name"],
                origin=origin,
                description=options["description"],
                default=options["default"],
                with_data=not options["no_data"],
                cluster=cluster,
                **self.caller,
            )
        return self._kept(version, new)

    @contextmanager
    def _origin(self, cluster: Cluster, options: dict[str, Any]) -> Iterator[Source]:
        if options["django"]:
            if not cluster.is_default:
                raise InvalidInput(
                    "--django works on the default cluster only: migrations run in the control plane's own database.",
                    field="cluster",
                )
            with migrated_schema() as schema:
                yield schema
        elif options["sql"] is not None:
            yield SqlDirectory(options["sql"])
        elif options["dump"] is not None:
            yield DumpFile(options["dump"])
        else:
            yield LiveSchema(options["schema"])

    def _preview(self, compiled: CompiledTemplate, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "template": options["name"],
            "version": None,
            "new": False,
            "dry_run": True,
            "description": options["description"] or compiled.description,
            "fingerprint": compiled.fingerprint,
            "compiled_on": compiled.server_version_num,
            "script_bytes": len(compiled.script.encode()),
            "size": compiled.size,
            "extensions": [asdict(extension) for extension in compiled.extensions],
            "timeseries": [asdict(spec) for spec in compiled.timeseries],
            "notes": compiled.notes,
        }

    def _kept(self, version: TemplateVersion, new: bool) -> dict[str, Any]:
        template = version.template
        return {
            "template": template.name,
            "version": version.number,
            "new": new,
            "dry_run": False,
            "description": template.description,
            "is_default": template.is_default,
            "source": version.source,
            "fingerprint": version.fingerprints.get(str(version.compiled_on // 10000)),
            "compiled_on": version.compiled_on,
            "script_bytes": len(version.script.encode()),
            "size": version.size,
            "extensions": version.extensions,
            "timeseries": version.timeseries,
            "notes": version.notes,
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        name, version = document["template"], document["version"]
        title = f"{name} v{version}" if version else f"{name} can be cloned exactly (dry run: nothing was kept)"
        if version and not document["new"]:
            title += ": the same as before, no new version was made"
        out.facts(
            title,
            {
                "description": document["description"],
                "size": {kind: count for kind, count in document["size"].items() if count},
                "clone script": f"{document['script_bytes'] / 1024:.0f} KiB",
                "fingerprint": document["fingerprint"],
                "extensions": [f"{each['name']} in {each['schema']}" for each in document["extensions"]],
                "time series": [each["table"] for each in document["timeseries"]],
            },
        )
        for note in document["notes"]:
            out.line(f"  note: {note}", style="yellow")
