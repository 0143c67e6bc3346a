"""What the measurements say: ratios between rows, goals met or missed, a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

AUDIT_RATIO = "warm claim ÷ the same without the audit log"
# Name, the row and field above the line, those below it.
_RATIOS = (
    ("cold ÷ raw replay", ("cold", "median_ms"), ("replay", "median_ms")),
    ("empty-pool burst ÷ parallel raw replay, schemas a second", ("burst_empty", "per_second"),
     ("replay_parallel", "per_second")),
    ("django-tenants' clone ÷ warm POST", ("rival_clone", "median_ms"), ("post", "median_ms")),
    ("django-tenants' clone ÷ cold", ("rival_clone", "median_ms"), ("cold", "median_ms")),
    ("django-tenants' migrate ÷ warm POST", ("rival_migrate", "median_ms"), ("post", "median_ms")),
    ("django-tenants' migrate ÷ cold", ("rival_migrate", "median_ms"), ("cold", "median_ms")),
    ("raw replay ÷ warm claim", ("replay", "median_ms"), ("warm", "median_ms")),
    (AUDIT_RATIO, ("warm", "median_ms"), ("warm_unaudited", "median_ms")),
)  # fmt: skip
# Cores that others use at the same time falsify the times, and this hardly.
CPU_RATIO = "cold ÷ raw replay, in CPU seconds of one go"
COLD_LIMIT, CLONE_FACTOR, BURST_SECONDS, THROUGHPUT_SHARE, AUDIT_LIMIT = 1.3, 20, 2.0, 0.9, 1.2

METHOD = {
    "replay": "One transaction: CREATE SCHEMA, SET LOCAL ROLE, the rendered script, the first partitions. Roles and "
    "rendering are not in the time.",
    "replay_parallel": "The same by 4 threads with a connection each; half before, half after the empty-pool burst.",
    "cold": "provision_tenant(respond_async=True), then operations.work: roles, clone, verification by fingerprint, "
    "login, every step and audit record; in this process.",
    "warm": "provision_tenant with a slot ready, in this process; slots are built outside the time.",
    "warm_unaudited": "Likewise, in turns with it, while events are not inserted.",
    "post": "gunicorn (2 workers, 4 threads each), an open connection, an API key; then psycopg.connect with the "
    "answer's DSN and SELECT 1.",
    "rival_clone": "CloneSchema().clone_schema of a base schema made of the template's SQL files.",
    "rival_migrate": "CREATE SCHEMA and migrate_schemas, as TenantMixin.create_schema does, in a process that is "
    "running already; models by inspectdb.",
    "burst_empty": "gunicorn, a Celery worker with 4 processes, beat, once what beat sends at its start is done; times "
    "are from the first POST to each active tenant.",
    "burst_warm": "gunicorn, worker and beat likewise; times are from the first POST to each tenant's answered login.",
}


def _value(result: Mapping[str, Any], place: tuple[str, str]) -> float | None:
    value = result["rows"].get(place[0], {}).get(place[1])
    return float(value) if value else None


def ratios(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those ratios of which both rows were measured."""
    found = []
    for name, above, below in _RATIOS:
        first, second = _value(result, above), _value(result, below)
        if first is not None and second is not None:
            found.append({"name": name, "value": round(first / second, 3)})
    cold, limit = (_cpu_of_one(result["rows"].get(name, {})) for name in ("cold", "replay"))
    if cold and limit:
        found.append({"name": CPU_RATIO, "value": round(cold / limit, 3)})
    return found


def _cpu_of_one(row: Mapping[str, Any]) -> float:
    used = row.get("cpu_s", {})
    return float(sum(used.get(name, 0.0) for name in ("postgres", "bench")) / row["n"]) if row.get("n") else 0.0


def goals(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal with what was found; `met` is None when its rows were not measured."""
    of = {ratio["name"]: ratio["value"] for ratio in ratios(result)}
    rows = result["rows"]
    cold, factor = of.get(_RATIOS[0][0]), of.get(_RATIOS[2][0])
    share, audited = of.get(_RATIOS[1][0]), of.get(AUDIT_RATIO)
    ready, empty = rows.get("burst_warm", {}), rows.get("burst_empty", {})
    least = f"throughput ≥ {THROUGHPUT_SHARE} × parallel replay"
    return [
        _goal(f"cold ≤ {COLD_LIMIT} × raw replay", cold, cold is not None and cold <= COLD_LIMIT),
        _goal(f"warm POST p50 ≤ 1/{CLONE_FACTOR} of django-tenants' clone", factor, (factor or 0) >= CLONE_FACTOR),
        _goal(f"{AUDIT_RATIO} ≤ {AUDIT_LIMIT}", audited, audited is not None and audited <= AUDIT_LIMIT),
        _goal(
            f"{ready.get('title', 'burst, warm pool')}: all ready within {BURST_SECONDS:g} s, none failing",
            ready.get("all_ready_s"),
            ready.get("all_ready_s", 9e9) <= BURST_SECONDS and not ready.get("failures"),
            failures=ready.get("failures"),
        ),
        _goal(
            f"{empty.get('title', 'burst, empty pool')}: all succeed, {least}",
            share,
            (share or 0) >= THROUGHPUT_SHARE and not empty.get("failures"),
            failures=empty.get("failures"),
        ),
    ]


def _goal(text: str, value: float | None, met: bool, **more: Any) -> dict[str, Any]:
    return {"goal": text, "value": value, "met": None if value is None else met, **more}


def complete(result: dict[str, Any]) -> dict[str, Any]:
    """The result with ratios, goals and methods: the JSON document."""
    methods = {name: METHOD[name] for name in result["rows"]}
    return {**result, "ratios": ratios(result), "goals": goals(result), "methods": methods}


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print it all for people."""
    console.print(_table(document))
    for name, row in document["rows"].items():
        for line in _beside(row):
            console.print(f"  {name}: {line}", highlight=False, soft_wrap=True)
    for name, things in document["left_out"].items():
        console.print(f"  {name} was spared: {'; '.join(things)}.", highlight=False, soft_wrap=True)
    for ratio in document["ratios"]:
        console.print(f"  {ratio['name']}: [bold]{ratio['value']:.2f}[/]", highlight=False)
    for goal in document["goals"]:
        word = {True: "[green]met[/]", False: "[red]missed[/]", None: "[dim]not measured[/]"}[goal["met"]]
        found = "" if goal["value"] is None else f" ({goal['value']:.2f})"
        console.print(f"  {word}: {goal['goal']}{found}", highlight=False, soft_wrap=True)
    machine = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    console.print(f"  {machine}", style="dim", highlight=False, soft_wrap=True)


def _table(document: Mapping[str, Any]) -> Table:
    table = Table(title=f"Provisioning of '{document['template']['name']}' (milliseconds)", title_justify="left")
    for heading in ("", "n", "median", "p99", "least", "most"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in document["rows"].values():
        if row["error"]:
            table.add_row(row["title"], "0", "[red]failed[/]", "", "", "")
            continue
        table.add_row(row["title"], *_cells(row))
        for name, part in row["parts"].items():
            table.add_row(f"[dim]  … {name}[/]", *_cells(part))
    return table


def _cells(found: Mapping[str, Any]) -> list[str]:
    numbers = [found.get(f"{name}_ms") for name in ("median", "p99", "min", "max")]
    return [str(found["n"]), *("" if number is None else f"{number:,.1f}" for number in numbers)]


def _beside(row: Mapping[str, Any]) -> list[str]:
    lines = [f"failed: {row['error']}"] if row["error"] else []
    labels = {
        "wall_s": "{} s from first to last", "per_second": "{} a second", "all_answered_s": "all answered after {} s",
        "all_ready_s": "all logins answered after {} s", "all_active_s": "all active after {} s",
        "failures": "{} failed",
    }  # fmt: skip
    said = [text.format(row[name]) for name, text in labels.items() if name in row]
    if row.get("failed"):
        said.append("; ".join(row["failed"]))
    if "cpu_s" in row:
        said.append("CPU " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in row["cpu_s"].items()))
    return [*lines, *([", ".join(said)] if said else [])]
