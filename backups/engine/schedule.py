"""Runs statements on several sessions at once: what may run beside what, and what must wait for what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

LOOK_SECONDS = 0.5
Open = Callable[[], AbstractContextManager[Connection[Any]]]


@dataclass(frozen=True)
class Task:
    """Work for one session. It begins when no task before it in the list still `makes` what it `needs`; tasks that hold
    the same table exclusively never run together."""

    run: Callable[[Connection[Any]], None]
    makes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    exclusive: bool = False


@dataclass
class _State:
    todo: list[Task]
    running: list[Task] = field(default_factory=list)
    error: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> Task | None:
        """The first task that may run now. Waits for one; None when there will be none."""
        with self.changed:
            while self.todo and self.error is None:
                for index, task in enumerate(self.todo):
                    if self._may_run(task, index):
                        self.running.append(self.todo.pop(index))
                        return task
                self.changed.wait(LOOK_SECONDS)
            return None

    def _may_run(self, task: Task, index: int) -> bool:
        if any(task.needs & other.makes for other in [*self.running, *self.todo[:index]]):
            return False
        return not any(
            (task.exclusive or other.exclusive) and task.tables & other.tables for other in self.running
        )  # fmt: skip

    def done(self, task: Task, error: BaseException | None) -> None:
        with self.changed:
            self.running.remove(task)
            self.error = self.error or error
            self.changed.notify_all()


def run_all(tasks: Sequence[Task], opened: Open, *, workers: int, tell: Callable[[], None]) -> None:
    """Run all tasks on at most `workers` sessions, in their order where they may. `tell` is called twice a second from
    this thread; what it raises, or any task, ends the rest and is raised here."""
    state = _State(list(tasks))
    threads = [
        threading.Thread(target=_work, args=(state, opened), name=f"restore-{n}", daemon=True)
        for n in range(max(1, min(workers, len(tasks))))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_SECONDS)
                tell()
    except BaseException as error:
        with state.changed:
            state.error = state.error or error
            state.changed.notify_all()
        for thread in threads:
            thread.join()
        raise
    if state.error is not None:
        raise state.error


def _work(state: _State, opened: Open) -> None:
    try:
        with opened() as connection:
            while (task := state.take()) is not None:
                error: BaseException | None = None
                try:
                    task.run(connection)
                except BaseException as caught:
                    error = caught
                state.done(task, error)
    except BaseException as error:  # no session to be had
        with state.changed:
            state.error = state.error or error
            state.changed.notify_all()
