"""What a restore would change, before anybody asks for it: rows then and now, what is lost, how long it takes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups import capturing
from backups.engine.manifest import Manifest
from backups.engine.proof import changed_since
from backups.models import Backup, RestoreDrill
from backups.services.sources import Source, check_tables, open_backup
from tenants.models import Cluster, Operation, Tenant
from tenants.postgres import load_queries, session, translate

QUERIES = load_queries(Path(__file__).parent.with_name("queries.sql"))
# Until there are restores to measure by: somewhat less than measured on two cores, and what a small one costs.
ASSUMED_BYTES_A_SECOND = 20_000_000.0
ASSUMED_SECONDS = 3.0
SMALL_BYTES = 8_000_000
SAMPLE = 50
# Tables of more pages (8 kB) are estimated by the server's statistics, not counted.
COUNTED_PAGES = 4_000


@dataclass(frozen=True)
class TableRows:
    """A table's rows in the backup and in the present schema; None where there is no such table. Partitions count as
    their table. `exact` is false where the present ones are the server's estimate."""

    name: str
    rows_then: int | None
    rows_now: int | None
    exact: bool


@dataclass(frozen=True)
class Expected:
    """Seconds that a restore takes, and how many earlier ones that is worked out from (0: assumed)."""

    seconds: float
    measured_by: int


@dataclass(frozen=True)
class Preview:
    """What a restore would do. `changed` tells whether anything was changed since the backup; None: not known."""

    backup: str
    tenant: str
    snapshot_at: str
    server_version: int
    template: str
    template_version: int
    rows_then: int
    rows_now: int | None
    bytes: int
    changed: bool | None
    expected: Expected
    tables: list[TableRows]
    changes: list[str]
    losses: list[str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


def preview_same(*, backup: Backup, tenant: Tenant) -> Preview:
    """What a restore in the place of the tenant's present schema would change. Raises Damaged, KeyMissing,
    ClusterError."""
    found = open_backup(backup)
    tables, changed = _now(tenant, found)
    now, losses = _lost(tables, changed)
    changes = [
        f"The schema {tenant.schema_name} is replaced by the backup's; the present one is kept aside.",
        "All sessions end while the two are exchanged; the same credentials work afterwards.",
    ]
    if tenant.template_version != backup.template_version:
        changes.append(f"The template's version goes from {tenant.template_version} to {backup.template_version}.")
    return _preview(backup, found, tenant.cluster, tables, now, changed, changes, losses)


def preview_tables(*, backup: Backup, tenant: Tenant, names: Sequence[str]) -> Preview:
    """What a restore of these tables alone would change. Raises InvalidInput, Damaged, KeyMissing, ClusterError."""
    found = open_backup(backup)
    chosen = check_tables(found, names)
    tables, changed = _now(tenant, found, chosen)
    now, losses = _lost(tables, changed)
    changes = [
        f"The rows of {', '.join(chosen)} are replaced in one transaction while the tenant works.",
        "All other tables stay as they are.",
        "A foreign key of another table that points to a row which would be gone forbids it.",
    ]
    raw = sum(table.raw for table in found.manifest.tables if table.target in chosen)
    rows = sum(table.rows_then or 0 for table in tables)
    return _preview(backup, found, tenant.cluster, tables, now, changed, changes, losses, part=(rows, raw))


def _lost(tables: list[TableRows], changed: bool) -> tuple[int, list[str]]:
    """Rows there are now, and what would be lost of them."""
    losses = [
        f"{table.name}: {table.rows_now - (table.rows_then or 0):,} rows more than the backup has"
        for table in tables
        if table.rows_now is not None and table.rows_now > (table.rows_then or 0)
    ]
    if changed:
        losses.append("What was changed or deleted since the backup comes back as it was then.")
    return sum(table.rows_now or 0 for table in tables), losses


def preview_copy(*, backup: Backup, slug: str, cluster: Cluster) -> Preview:
    """What a restore into a new tenant would make. Raises Damaged, KeyMissing."""
    found = open_backup(backup)
    tables = [TableRows(name, rows, None, True) for name, rows in sorted(_then(found.manifest).items())]
    changes = [f"A new tenant {slug} on {cluster.name}, with credentials of its own. {backup.slug} stays as it is."]
    return _preview(backup, found, cluster, tables, None, None, changes, [])


def _preview(
    backup: Backup, found: Source, cluster: Cluster, tables: list[TableRows], now: int | None, changed: bool | None,
    changes: list[str], losses: list[str], *, part: tuple[int, int] | None = None,
) -> Preview:  # fmt: skip
    """`part`: rows and bytes of what is restored, when that is not all."""
    manifest = found.manifest
    rows, raw = part or (manifest.rows, manifest.raw_bytes)
    return Preview(
        str(backup.pk), backup.slug, manifest.snapshot_at, manifest.server_version_num, backup.template,
        backup.template_version, rows, now, raw, changed, expected_seconds(raw, cluster), tables, changes, losses,
    )  # fmt: skip


def expected_seconds(raw_bytes: int, cluster: Cluster | None = None) -> Expected:
    """How long a restore of so many bytes takes, by the last restores and drills on this cluster, or on any."""
    measured = _measured(cluster) or _measured(None)
    small = [seconds for size, seconds in measured if size < SMALL_BYTES]
    large = [(size, seconds) for size, seconds in measured if size >= SMALL_BYTES]
    floor = statistics.median(small) if small else ASSUMED_SECONDS
    speed = ASSUMED_BYTES_A_SECOND
    if large and (seconds := sum(seconds for _, seconds in large)):
        speed = sum(size for size, _ in large) / seconds
    return Expected(round(floor + raw_bytes / speed, 1), len(measured))


def _measured(cluster: Cluster | None) -> list[tuple[int, float]]:
    """Bytes and seconds of the newest ones."""
    drills = RestoreDrill.objects.filter(state=RestoreDrill.State.SUCCEEDED, seconds__gt=0)
    restores = Operation.objects.filter(
        kind__in=["backup.restore", "backup.restore_copy"], state=Operation.State.SUCCEEDED
    )
    if cluster is not None:
        drills, restores = drills.filter(cluster=cluster), restores.filter(cluster=cluster)
    found = [(row.bytes, row.seconds or 0.0) for row in drills[:SAMPLE]]
    results = restores.values_list("result", flat=True)[:SAMPLE]
    return found + [(r["bytes"], r["seconds"]) for r in results if r.get("seconds") and "bytes" in r]


def _then(manifest: Manifest) -> dict[str, int]:
    rows: dict[str, int] = {}
    for table in manifest.tables:
        rows[table.target] = rows.get(table.target, 0) + table.rows
    return rows


def _now(tenant: Tenant, found: Source, only: Sequence[str] = ()) -> tuple[list[TableRows], bool]:
    """Each table (of `only`, if given) then and now, by the login that reads for backups."""
    then = {name: rows for name, rows in _then(found.manifest).items() if not only or name in only}
    dsn = capturing.reader(tenant.cluster)
    try:
        with session(dsn) as link:
            now = _counted(link, tenant.schema_name, set(then), only)
    except psycopg.Error as error:
        raise translate(error) from error
    names = sorted({*then, *now})
    tables = [
        TableRows(n, then.get(n), now[n][0] if n in now else None, now[n][1] if n in now else True) for n in names
    ]
    return tables, changed_since(dsn, tenant.schema_name, found.manifest.proof)


def _counted(link: Connection[Any], schema: str, known: set[str], only: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """Rows of each table (of `only`, if given), and whether they were counted. Those of partitions are their table's,
    unless the backup has them by name."""
    result: dict[str, tuple[int, bool]] = {}
    small: list[tuple[str, str]] = []
    for name, root, pages, estimate in link.execute(QUERIES["tables_now"], {"schema": schema}):
        owner = name if name in known else root
        if only and owner not in only:
            continue
        if pages <= COUNTED_PAGES:
            small.append((owner, name))
            result.setdefault(owner, (0, True))
        else:
            result[owner] = (result.get(owner, (0, True))[0] + int(estimate), False)
    if small:
        count = sql.SQL("SELECT {}, count(*) FROM ONLY {}")
        each = [count.format(sql.Literal(owner), sql.Identifier(schema, name)) for owner, name in small]
        for owner, rows in link.execute(sql.SQL(" UNION ALL ").join(each)):
            total, exact = result[owner]
            result[owner] = (total + rows, exact)
    return result
