"""A session on a server, as probes use it: it counts what they ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from psycopg import Connection, sql
from psycopg.rows import class_row

from tenants.models import Cluster, ClusterLogin
from tenants.postgres import connect, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
STATEMENT_SECONDS, LOCK_MS = 15, 200
# A sweep of a server that hangs ends then; its statements have their own, shorter time.
SESSION_SECONDS = 40

Row = TypeVar("Row")


class Link:
    """Asks the server; `queries` is how many statements that took so far."""

    def __init__(self, connection: Connection[Any]) -> None:
        """On a connection in autocommit mode: a statement that fails takes no other with it."""
        self.connection = connection
        self.queries = 0

    @property
    def version(self) -> int:
        """The server's, e.g. 180001."""
        return self.connection.info.server_version

    def rows(
        self, kind: type[Row], query: str, params: dict[str, Any] | None = None, **parts: sql.Composable
    ) -> list[Row]:
        """What the statement `query` of queries.sql says, as dataclasses. Raises psycopg's errors."""
        self.queries += 1
        text: Any = QUERIES[query]
        statement = sql.SQL(text).format(**parts) if parts else text
        with self.connection.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(statement, params).fetchall()

    def row(
        self, kind: type[Row], query: str, params: dict[str, Any] | None = None, **parts: sql.Composable
    ) -> Row | None:
        """The first of them."""
        return next(iter(self.rows(kind, query, params, **parts)), None)


@contextmanager
def linked(cluster: Cluster, *, seconds: float = SESSION_SECONDS) -> Iterator[Link]:
    """A session of the login that may only look, with short timeouts. Raises ClusterUnavailable."""
    with connect(
        cluster.dsn(ClusterLogin.Purpose.MONITOR),
        autocommit=True,
        application_name="controlplane probe",
        statement_timeout_ms=STATEMENT_SECONDS * 1000,
        lock_timeout_ms=LOCK_MS,
        within_seconds=seconds,
    ) as connection:
        yield Link(connection)
