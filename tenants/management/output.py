"""Printing for people: tables, pages of facts and progress, without letting a name be taken for markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Wide enough that nothing is folded where a file or another program reads it.
PIPE_WIDTH = 240
STYLES = {
    **dict.fromkeys(("active", "succeeded", "ready", "well"), "green"),
    **dict.fromkeys(("failed", "unreachable"), "bold red"),
    **dict.fromkeys(("suspended", "cancelled", "disabled", "deleted", "cancelling"), "yellow"),
    **dict.fromkeys(("provisioning", "running", "pending", "building"), "cyan"),
    "purged": "dim",
}


def _console(stream: Any, *, no_color: bool) -> Console:
    # Django's wrapper adds line ends of its own; rich writes them itself.
    target = getattr(stream, "_out", stream)
    tty = bool(getattr(target, "isatty", lambda: False)())
    return Console(
        file=target, no_color=no_color or None, markup=False, highlight=False, width=None if tty else PIPE_WIDTH
    )


class Output:
    """Where a command writes: results to stdout, progress and remarks to stderr (none of those when `quiet`)."""

    def __init__(self, stdout: Any, stderr: Any, *, quiet: bool = False, no_color: bool = False) -> None:
        self.results = _console(stdout, no_color=no_color)
        self.remarks = _console(stderr, no_color=no_color)
        self.quiet = quiet

    def line(self, text: str = "", *, style: str = "") -> None:
        """One line of result, never folded."""
        self.results.print(Text(text, style=style), soft_wrap=True)

    def remark(self, text: str) -> None:
        """One line beside the result."""
        if not self.quiet:
            self.remarks.print(Text(text), soft_wrap=True)

    def facts(self, title: str, facts: Mapping[str, Any]) -> None:
        """A heading and one line for each fact; facts that are None or empty are left out."""
        self.line(title, style="bold")
        shown = {name: cell(value) for name, value in facts.items() if value not in (None, "", [], {})}
        width = max((len(name) for name in shown), default=0)
        for name, value in shown.items():
            text = Text(f"  {name:<{width}}  ", style="dim")
            text.append(value, style=STYLES.get(value, "not dim"))
            self.results.print(text, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
        """A table; numbers stand on the right."""
        table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
        content = [list(row) for row in rows]
        for index, name in enumerate(columns):
            numeric = bool(content) and all(isinstance(row[index], int | float | None) for row in content)
            # An id is there to be copied, and must stay in one piece.
            table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=name == "id")
        for row in content:
            texts = [cell(value) for value in row]
            table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
        self.results.print(table)

    @contextmanager
    def progress(self, description: str, total: float | None = None) -> Iterator[Step]:
        """A progress bar on stderr while the block runs; nothing at all where no person watches."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        if total is not None:
            columns = (*columns[:3], MofNCompleteColumn(), columns[3])  # type: ignore[assignment]
        hidden = self.quiet or not self.remarks.is_terminal
        with Progress(*columns, console=self.remarks, transient=True, disable=hidden) as progress:
            yield Step(progress, progress.add_task(description, total=total))


class Step:
    """The one bar of a `progress` block."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def update(self, *, completed: float | None = None, description: str | None = None) -> None:
        """Say how far it has come."""
        self._progress.update(self._task, completed=completed, description=description)


def cell(value: Any) -> str:
    """A value as people read it: times without fractions, lists and mappings in one line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value)) or "–"
    return str(value)


def ago(value: datetime | str | None) -> str:
    """How long ago, roughly: `3 min`."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    if moment is None:
        return "–"
    seconds = int((timezone.now() - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
