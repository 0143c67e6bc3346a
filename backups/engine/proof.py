"""Whether anything has changed since a backup, without reading a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from backups.engine import catalog
from backups.engine.looking import glance
from backups.engine.manifest import SequenceState
from backups.engine.sessions import kept
from tenants.postgres import Dsn, translate
from tenants.schemas.compiler import ask_fingerprints


def proof_of(fingerprint: str, activity: str | None, states: Sequence[SequenceState]) -> dict[str, Any]:
    """What a manifest keeps, to be compared later; empty when the server cannot say."""
    if activity is None:
        return {}
    positions = {state.name: [state.last_value, state.is_called] for state in states}
    return {"fingerprint": fingerprint, "activity": activity, "sequences": positions}


def changed_since(dsn: Dsn, schema: str, proof: Mapping[str, Any]) -> bool:
    """Whether anything in the schema may have changed since the backup whose manifest has this `proof`.

    Cheap: what the server has counted, the catalog's fingerprint, the sequences. The server counts a change up to a
    minute after it is committed. Unsure (no proof, counting off, a crash, a replica) is True.
    """
    if not proof:
        return True
    with kept(dsn) as connection:
        try:
            found, activity = glance(connection, schema)
            if activity is None or activity != proof.get("activity"):
                return True
            with connection.pipeline(), connection.transaction():
                hashed = ask_fingerprints(connection, [schema])
                positions = catalog.ask_sequences(connection, schema, found)
        except psycopg.Error as error:
            raise translate(error) from error
    states = catalog.sequences_in(positions)
    return proof_of(dict(hashed.fetchall()).get(schema, ""), activity, states) != dict(proof)
