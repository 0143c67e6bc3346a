"""A superuser's (or owner's) session that remembers what it was told, for dry runs and for the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, sql


@dataclass
class Recorder:
    """Executes statements on `connection` and lists them; a refusal is noted and does not end the transaction.

    What is listed never holds a password: `secret` marks the statements whose text is shown in another form.
    """

    connection: Connection[Any]
    superuser: bool
    statements: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def run(self, statement: sql.Composed | str, *, shown: str | None = None) -> bool:
        """Execute it in a savepoint. False when the server refused it for want of rights."""
        composed = sql.SQL(statement) if isinstance(statement, str) else statement
        text = shown if shown is not None else composed.as_string(self.connection)
        self.statements.append(text.strip().rstrip(";") + ";")
        try:
            with self.connection.transaction():
                self.connection.execute(composed)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported) as error:
            self.refused.append((self.statements[-1], error.diag.message_primary or str(error)))
            return False
        except psycopg.errors.UniqueViolation:
            return True  # roles belong to the whole server: who prepares another database of it has granted the same
        return True
