"""`manage.py check_isolation`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning.isolation import check_isolation
from tenants.exceptions import ClusterUnusable
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output
from tenants.models import Cluster, IsolationCheck, IsolationFinding


class Command(ControlPlaneCommand):
    help = (
        "Prove that tenants are kept apart, on every cluster or the named ones.\n\n"
        "The catalog is read for all schemas at once: attributes and memberships of every tenant's roles, owners, "
        "grants (PUBLIC's too), row-level security and policies, default privileges, SECURITY DEFINER, what reaches "
        "from one schema into another, settings, and passwords that somebody else has changed. Then some tenants' own "
        "logins try to get at another's schema, the control plane's, and more rights; all is rolled back.\n\n"
        "What is found stays open until a check does not find it any more. A new critical finding is an audit event "
        "(isolation.violation); with ISOLATION_ON_VIOLATION=suspend its offender is suspended. Ends with 5 while "
        "anything critical is open, or a cluster could not be checked."
    )
    examples = """
  manage.py check_isolation
  manage.py check_isolation eu-2 --sample 50
  manage.py check_isolation --json | jq '.clusters[].findings[] | select(.severity == "critical")'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="CLUSTER", help="the clusters to check (default: all)")
        parser.add_argument(
            "--sample", type=int, metavar="N", help="how many tenants' logins try (default: ISOLATION_PROBE_SAMPLE)"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        rows = [find_cluster(name) for name in options["names"]] or list(Cluster.objects.all())
        checks = [check_isolation(cluster=row, sample=options["sample"], **self.caller) for row in rows]
        if bad := [check.cluster.name for check in checks if not check.ok]:
            self.failure = ClusterUnusable(f"Isolation is not proven on {', '.join(bad)}.")
        return {"clusters": [_document(check) for check in checks]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["cluster", "result", "schemas", "tried", "critical", "warnings", "seconds"],
            [
                [row["cluster"], "proven" if row["ok"] else row["error"] or "not proven", row["schemas"], row["probed"],
                 row["critical"], row["warnings"], row["seconds"]]
                for row in document["clusters"]
            ],
        )  # fmt: skip
        for row in document["clusters"]:
            for found in row["findings"]:
                where = found["schema"] or "the database"
                out.line(f"{row['cluster']}: {found['severity']}: {found['code']} in {where}: "
                         f"{found['subject']} {found['detail']}")  # fmt: skip
            for line in row["unverified"]:
                out.line(f"{row['cluster']}: not verified: {line}", style="yellow")


def _document(check: IsolationCheck) -> dict[str, Any]:
    findings = IsolationFinding.objects.filter(cluster=check.cluster, resolved_at=None).select_related("tenant")
    return {
        "cluster": check.cluster.name,
        "ok": check.ok,
        "error": check.error,
        "started_at": check.started_at,
        "seconds": round(check.seconds, 3),
        "schemas": check.schemas,
        "probed": check.probed,
        "critical": check.critical,
        "warnings": check.warnings,
        "unverified": check.unverified,
        "findings": [
            {
                "severity": row.severity, "code": row.code, "schema": row.schema_name,
                "tenant": row.tenant.slug if row.tenant else None, "offender": row.offender, "subject": row.subject,
                "detail": row.detail, "first_seen_at": row.first_seen_at,
            }
            for row in findings
        ],
    }  # fmt: skip
