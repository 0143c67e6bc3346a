"""Measures each row in the scratch registry; what is compared is measured in turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection

from provisioning import imports
from provisioning.bench import bursts, machine, ours, programs, replay, rivals
from provisioning.bench.machine import CpuMeter
from provisioning.bench.options import PARALLEL, RESULT_FILE, STATE_FILE, Options
from provisioning.bench.samples import Row
from provisioning.models import TemplateVersion
from tenants import api_keys, clusters, plans
from tenants.models import Cluster, Plan
from tenants.models.access import Scope
from tenants.schemas import compiler

RIVAL_BASE = "rival_base"
RIVALS = ("rival_clone", "rival_migrate")


def prepare(directory: Path, tell: Callable[[str], None]) -> None:
    """Cluster, plan, template and API key in the fresh registry, and what django-tenants begins with."""
    options = Options.load(directory)
    by: dict[str, Any] = {"actor": ours.ACTOR, "source": ours.SOURCE}
    cluster = clusters.ensure_default_cluster(pool_target=0, max_parallel=PARALLEL, **by)
    if not Plan.objects.exists():
        plans.create_plan(slug="bench", name="Bench", is_default=True, **by)
    template = Path(options.template)
    tell(f"importing the template {template.name}")
    imports.import_template(
        name=template.name, origin=compiler.SqlDirectory(template), default=True, cluster=cluster, **by
    )
    _, key = api_keys.create_api_key(name="bench", scopes=Scope.values, **by)
    state: dict[str, Any] = {"key": key, "left_out": {}, "errors": {}}
    if set(RIVALS) & set(options.only):
        tell("making django-tenants' base schema and models")
        _prepare_rivals(cluster, template, directory, state)
    (directory / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


def _prepare_rivals(cluster: Cluster, template: Path, directory: Path, state: dict[str, Any]) -> None:
    rivals.plain_schema(cluster.dsn(), template, RIVAL_BASE)
    try:
        state["left_out"]["rival_migrate"] = rivals.write_app(RIVAL_BASE, directory)
    except RuntimeError as error:
        state["errors"]["rival_migrate"] = str(error)
    state["left_out"]["rival_clone"] = rivals.simplify(cluster.dsn(), RIVAL_BASE)


@dataclass
class Bench:
    """One run: where it measures, and what it has found so far."""

    options: Options
    directory: Path
    state: dict[str, Any]
    tell: Callable[[str], None]
    cluster: Cluster = field(default_factory=lambda: Cluster.objects.get(is_default=True))
    version: TemplateVersion = field(
        default_factory=lambda: TemplateVersion.objects.select_related("template").latest("number")
    )
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {name: Row(self.options.title(name)) for name in self.options.only}
        for name, error in self.state["errors"].items():
            if name in self.rows:
                self.rows[name].error = error

    def wants(self, *names: str) -> bool:
        """Whether one of these rows is to be measured, and has not failed."""
        return any(name in self.rows and not self.rows[name].error for name in names)

    @contextmanager
    def metering(self, name: str, roots: Mapping[str, int | None]) -> Iterator[Row]:
        """The row `name`, with the CPU time of these programs."""
        with self.measuring(name) as row:
            meter = CpuMeter(roots)
            yield row
            row.add_cpu(meter.used())

    @contextmanager
    def measuring(self, name: str) -> Iterator[Row]:
        """The row `name`; what goes wrong in the block is kept as its error, and the other rows go on."""
        try:
            yield self.rows[name]
        except Exception as error:
            self.rows[name].error = f"{type(error).__name__}: {error}".strip()[:600]
            self.tell(f"{self.rows[name].title}: {self.rows[name].error.splitlines()[0]}")


def measure(directory: Path, tell: Callable[[str], None]) -> None:
    """Measure all rows and leave the result in `directory`."""
    options = Options.load(directory)
    bench = Bench(options, directory, json.loads((directory / STATE_FILE).read_text(encoding="utf-8")), tell)
    with ExitStack() as stack:
        link = stack.enter_context(closing(replay.open_connection(bench.cluster.dsn())))
        facts = machine.facts(link)
        roots: dict[str, int | None] = {machine.POSTGRES: machine.postmaster(link)}
        port = 0
        if bench.wants("post", "burst_empty", "burst_warm"):
            tell("starting the web server")
            web, port = stack.enter_context(programs.web(directory))
            roots["web"] = web.process.pid
        Rounds(bench, link, port, roots).run()
        _parallel_and_bursts(bench, port, roots)
        _rivals(bench, roots)
        schemas, tables = link.execute(rivals.QUERIES["schemas_and_tables"]).fetchone() or (0, 0)
    _leave(bench, {**facts, "schemas_at_end": schemas, "tables_at_end": tables})


@dataclass
class Rounds:
    """The rows that need one connection, measured A B A B: drift of the machine or the catalog meets all of them."""

    bench: Bench
    link: Any
    port: int
    roots: dict[str, int | None]

    def run(self) -> None:
        """One round that is not counted (imports, connections, caches), then those that are."""
        counted, bench = self.bench.rows, self.bench
        bench.rows = {name: Row(row.title, error=row.error) for name, row in counted.items()}
        self._round(None)
        for name, row in bench.rows.items():
            counted[name].error = row.error
        bench.rows = counted
        for number in range(bench.options.rounds):
            if bench.wants("replay", "cold", "warm", "warm_unaudited", "post"):
                bench.tell(f"round {number + 1} of {bench.options.rounds}")
                self._round(number)

    def _round(self, number: int | None) -> None:
        options = self.bench.options
        for turn in range(1 if number is None else options.cold_each_round):
            for act in (self._replay, self._cold) if turn % 2 else (self._cold, self._replay):
                act()
        self._warm(1 if number is None else options.warm_each_round)

    def _replay(self) -> None:
        if self.bench.wants("replay"):
            prepared = replay.prepare(self.link, self.bench.version)
            with self.bench.metering("replay", self.roots) as row, row.timed():
                replay.replay(self.link, prepared)
            replay.release(self.link, prepared)

    def _cold(self) -> None:
        if self.bench.wants("cold"):
            with self.bench.metering("cold", self.roots) as row:
                ours.cold(row)

    def _warm(self, count: int) -> None:
        bench = self.bench
        needed = count * sum(bench.wants(name) for name in ("warm", "warm_unaudited", "post"))
        if needed:
            ours.fill(bench.cluster, bench.version, needed)
        for _ in range(count):
            for name, how in (("warm", nullcontext), ("warm_unaudited", ours.without_audit)):
                if bench.wants(name):
                    with bench.metering(name, self.roots) as row, how():
                        ours.warm(row)
        if bench.wants("post"):
            with (
                closing(ours.Client(self.port, bench.state["key"])) as client,
                bench.metering("post", self.roots) as row,
            ):
                for _ in range(count):
                    ours.post(row, client)


def _parallel_and_bursts(bench: Bench, port: int, roots: dict[str, int | None]) -> None:
    """The burst against an empty pool stands between the two halves of the parallel replay it is compared with."""
    count, key = bench.options.concurrent, bench.state["key"]
    _replay_parallel(bench, (count + 1) // 2, roots)
    if bench.wants("burst_empty"):
        bench.tell(bench.rows["burst_empty"].title)
        with bench.measuring("burst_empty") as row, programs.workers(bench.directory) as pids:
            bursts.empty(row, port, key, count, CpuMeter({**roots, **pids}))
    _replay_parallel(bench, count // 2, roots)
    if bench.wants("burst_warm"):
        bench.tell(f"filling a pool of {count}")
        with bench.measuring("burst_warm") as row:
            ours.fill(bench.cluster, bench.version, count + bursts.UNCOUNTED)
            Cluster.objects.filter(pk=bench.cluster.pk).update(pool_target=count)
            with programs.workers(bench.directory) as pids:
                bench.tell(row.title)
                bursts.warm(row, port, key, count, CpuMeter({**roots, **pids}))
                Cluster.objects.filter(pk=bench.cluster.pk).update(pool_target=0)


def _rivals(bench: Bench, roots: dict[str, int | None]) -> None:
    """django-tenants' ways, after ours: they leave sessions that know every table of every schema, and dead rows in the
    catalogs, which ours would pay for. So large a difference needs no turns; and theirs have the catalogs swept first.
    """
    if bench.wants(*RIVALS):
        _sweep_catalogs()
    for name, act in (("rival_clone", lambda: rivals.clone(RIVAL_BASE)), ("rival_migrate", rivals.migrate)):
        for _ in range(bench.options.of_rival(name)):
            if bench.wants(name):
                bench.tell(bench.rows[name].title)
                with bench.metering(name, roots) as row, row.timed():
                    act()
                connection.close()


def _sweep_catalogs() -> None:
    with connection.cursor() as cursor:
        cursor.execute(rivals.QUERIES["catalogs"])
        for (name,) in cursor.fetchall():
            cursor.execute(f"VACUUM (ANALYZE) {name}")


def _replay_parallel(bench: Bench, count: int, roots: dict[str, int | None]) -> None:
    if not bench.wants("replay_parallel") or not count:
        return
    with bench.measuring("replay_parallel") as row:
        bench.tell(f"{row.title}: {count} schemas")
        dsn = bench.cluster.dsn()
        with closing(replay.open_connection(dsn)) as link:
            work = [replay.prepare(link, bench.version) for _ in range(count)]
        meter = CpuMeter(roots)
        each, seconds = replay.replay_parallel(dsn, work, connections=PARALLEL)
        row.seconds += each
        row.add_cpu(meter.used())
        with closing(replay.open_connection(dsn)) as link:
            for prepared in work:
                replay.release(link, prepared)
        total = row.facts.get("wall_s", 0.0) + seconds
        row.facts |= {"wall_s": round(total, 3), "per_second": round(len(row.seconds) / total, 3)}


def _leave(bench: Bench, facts: dict[str, Any]) -> None:
    size = {name: count for name, count in bench.version.size.items() if count}
    result = {
        "machine": facts,
        "template": {"name": bench.version.template.name, "script_bytes": len(bench.version.script), "size": size},
        "options": {"rounds": bench.options.rounds, "concurrent": bench.options.concurrent, "only": bench.options.only},
        "rows": {name: row.as_dict() for name, row in bench.rows.items()},
        "left_out": {name: what for name, what in bench.state["left_out"].items() if name in bench.rows},
    }
    (bench.directory / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
