"""`manage.py restore_backup`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from backups.engine.export import PROGRAMS
from backups.management import represent
from backups.models import Backup
from backups.services import exporting, preview, restore
from tenants.exceptions import InvalidInput
from tenants.management import represent as tenants_represent
from tenants.management.confirm import DestructiveCommand
from tenants.management.lookup import natural
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand
from tenants.models import Cluster


class Command(OperationCommand, DestructiveCommand):
    help = (
        "Restore a backup: into a new tenant (--into-new SLUG), in the place of its tenant's present schema "
        "(--in-place), the rows of some tables alone (--tables), or into plain files that psql replays "
        "(--to-file DIR). In place, the schema is made beside the present one while the tenant works, and then "
        "exchanged with it in one transaction; what was replaced is kept aside until confirm_restore, or until its "
        "deadline, and undo_restore puts it back. Every file of the backup is checked before anything is touched. "
        "Plain files are not encrypted any more: only their owner can read them, and that they were written stands in "
        "the audit log. --dry-run shows what would change, what would be lost, and how long it takes."
    )
    examples = """
  manage.py restore_backup 6f0c1c1e-… --into-new shop-copy --wait
  manage.py restore_backup 6f0c1c1e-… --in-place --dry-run
  manage.py restore_backup 6f0c1c1e-… --in-place --confirm shop --reason "wrong import on Monday" --wait
  manage.py restore_backup 6f0c1c1e-… --to-file /srv/handover/shop --confirm shop --reason "the customer leaves"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="ID", help="the backup (see list_backups)")
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--into-new", metavar="SLUG", help="make a new tenant of it, with credentials of its own")
        target.add_argument("--in-place", action="store_true", help="replace its tenant's present schema")
        target.add_argument(
            "--tables", metavar="NAME,…", help="replace the rows of these tables alone, in one transaction"
        )
        target.add_argument(
            "--to-file", type=Path, metavar="DIR", help="write schema and rows into this new directory, not encrypted"
        )
        parser.add_argument("--schema", metavar="NAME", help="that the files make (default: as it was)")
        parser.add_argument("--compression", choices=sorted(PROGRAMS), default="gz", help="of the files (default: gz)")
        parser.add_argument("--name", help="of the new tenant (default: as it was, with “(copy)”)")
        parser.add_argument("--plan", metavar="SLUG", help="of the new tenant (default: as it was)")
        parser.add_argument("--cluster", metavar="NAME", help="for the new tenant (default: where it was taken)")
        parser.add_argument("--no-backup", action="store_true", help="do not back up the present state before")
        parser.add_argument(
            "--keep-days", type=natural, default=restore.KEEP_DAYS, metavar="DAYS",
            help=f"how long what is replaced is kept (default: {restore.KEEP_DAYS})",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="show what would happen; do nothing")
        self.confirmation_arguments(parser)
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        backup = represent.find_backup(options["backup"])
        if options["to_file"]:
            return {"exported": self._to_file(backup, options)}
        if options["dry_run"]:
            return {"preview": self._preview(backup, options)}
        begun = self._copy(backup, options) if options["into_new"] else self._in_place(backup, options)
        operation = begun.operation
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        kept = begun.kept.pk if begun.kept and options["in_place"] else None
        return {
            "tenant": {"id": str(begun.tenant.pk), "slug": begun.tenant.slug}, "kept": kept,
            "operation": tenants_represent.operation(operation),
        }  # fmt: skip

    def _preview(self, backup: Backup, options: dict[str, Any]) -> dict[str, Any]:
        if not options["into_new"]:
            if backup.tenant is None:
                raise InvalidInput("The backup's tenant is gone.", field="backup", hint="Use --into-new.")
            if options["tables"]:
                names = _names(options["tables"])
                return preview.preview_tables(backup=backup, tenant=backup.tenant, names=names).as_dict()
            return preview.preview_same(backup=backup, tenant=backup.tenant).as_dict()
        name = options["cluster"]
        cluster = Cluster.objects.filter(name=name).first() if name else backup.cluster
        cluster = cluster or Cluster.objects.get(is_default=True)
        return preview.preview_copy(backup=backup, slug=options["into_new"], cluster=cluster).as_dict()

    def _in_place(self, backup: Backup, options: dict[str, Any]) -> restore.Restoring:
        if options["tables"]:
            reason = self.confirmed(backup.slug, f"Rows of {options['tables']} of {backup.slug} are replaced.", options)
            return restore.restore_tables(
                backup=backup, tables=_names(options["tables"]),
                confirm_slug=backup.slug, reason=reason, backup_before=not options["no_backup"], **self.caller,
            )  # fmt: skip
        reason = self.confirmed(
            backup.slug,
            f"The schema of {backup.slug} is replaced by its backup of {backup.snapshot_at:%Y-%m-%d %H:%M:%S %Z}.",
            options,
        )
        return restore.restore_same(
            backup=backup, confirm_slug=backup.slug, reason=reason, backup_before=not options["no_backup"],
            keep_days=options["keep_days"], **self.caller,
        )  # fmt: skip

    def _to_file(self, backup: Backup, options: dict[str, Any]) -> dict[str, Any]:
        if options["dry_run"]:
            raise InvalidInput("--to-file changes nothing that could be shown before.", field="dry_run")
        told = f"Schema and rows of {backup.slug} are written to {options['to_file']}, readable and NOT ENCRYPTED."
        reason = self.confirmed(backup.slug, told, options)
        done = exporting.export_backup(
            backup=backup, directory=options["to_file"], confirm_slug=backup.slug, reason=reason,
            schema=options["schema"], compression=options["compression"], **self.caller,
        )  # fmt: skip
        return {**asdict(done), "directory": str(done.directory), "encrypted": False}

    def _copy(self, backup: Backup, options: dict[str, Any]) -> restore.Restoring:
        return restore.restore_to_new(
            backup=backup, slug=options["into_new"], name=options["name"], plan=options["plan"],
            cluster=options["cluster"], reason=options["reason"] or "", **self.caller,
        )  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if "preview" in document:
            _show_preview(document["preview"], out)
            return
        if "exported" in document:
            _show_exported(document["exported"], out)
            return
        operation, slug = document["operation"], document["tenant"]["slug"]
        if operation["state"] != "succeeded":
            out.line(f"The restore is {operation['state']}: manage.py show_operation {operation['id']}")
            return
        result = operation["result"]
        out.line(f"Restored {result['rows']:,} rows in {result['seconds']:.1f} s into {slug}.")
        if options["tables"]:
            return
        if document["kept"]:
            out.line(f"What it replaced is aside: manage.py confirm_restore {document['kept']}, or undo_restore.")
        else:
            out.line(f"Its credentials: manage.py collect_credentials {operation['id']}")


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",")]


def _show_exported(done: dict[str, Any], out: Output) -> None:
    out.line(
        f"{done['rows']:,} rows in {done['files']} files ({represent.size(done['bytes'])}) in {done['directory']}."
    )
    out.line("They are NOT ENCRYPTED: keep them where only those may read them who may read the tenant's rows.")
    out.line(f"To replay them: cd {done['directory']} && psql -X -d DATABASE -f restore.sql")


def _show_preview(found: dict[str, Any], out: Output) -> None:
    expected = found["expected"]
    basis = f"by {expected['measured_by']} earlier ones" if expected["measured_by"] else "assumed"
    out.facts(
        f"Restore of {found['tenant']} as of {found['snapshot_at']}",
        {"rows then": found["rows_then"], "rows now": found["rows_now"], "size": represent.size(found["bytes"]),
         "expected": f"{expected['seconds']} s ({basis})", "changed since": found["changed"]},
    )  # fmt: skip
    out.table(
        ["table", "rows then", "rows now"],
        [
            [t["name"], t["rows_then"], t["rows_now"] if t["exact"] or t["rows_now"] is None else f"~{t['rows_now']}"]
            for t in found["tables"]
        ],
    )
    for line in [*found["changes"], *[f"Lost: {loss}" for loss in found["losses"]]]:
        out.line(line)
