"""Many small tables by one message: the server goes on to the next COPY without being asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection, errors, sql
from psycopg.abc import PQGen
from psycopg.generators import fetch, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

Sink = Callable[[bytes | memoryview], None]
Done = Callable[[int], None]


def copy_together(
    connection: Connection[Any], statements: Sequence[sql.Composable], on_rows: Sink, on_done: Done
) -> None:
    """Run each `COPY … TO STDOUT`, all sent at once: `on_rows` hears every row as it comes, `on_done` the number of
    rows at the end of each. A session on which this fails is to be given up. Raises psycopg.Error."""
    text = sql.SQL(";").join(statements).as_bytes(connection)
    connection.wait(_together(connection.pgconn, text, on_rows, on_done))


def _together(pgconn: PGconn, text: bytes, on_rows: Sink, on_done: Done) -> PQGen[None]:
    pgconn.send_query(text)
    yield from send(pgconn)
    while (result := (yield from fetch(pgconn))) is not None:
        if result.status == ExecStatus.COPY_OUT:
            yield from _rows(pgconn, on_rows)
        elif result.status == ExecStatus.COMMAND_OK:
            on_done(int(result.command_tuples or 0))
        else:
            raise errors.error_from_result(result)


def _rows(pgconn: PGconn, on_rows: Sink) -> PQGen[None]:
    while True:
        count, row = pgconn.get_copy_data(1)
        if count > 0:
            on_rows(row)
        elif count < 0:
            return
        else:
            while (yield Wait.R) == Ready.NONE:
                continue
            pgconn.consume_input()
