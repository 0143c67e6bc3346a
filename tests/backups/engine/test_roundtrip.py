"""What was backed up comes back exactly: pg_dump says so, beside counts, sequences and fingerprints."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from backups.engine.capture import capture
from backups.engine.content import compare_content
from backups.engine.errors import BackupError
from backups.engine.keys import KeyRing
from backups.engine.restore import restore
from backups.engine.verify import verify
from backups.storage.local import LocalStorage
from tenants.schemas import timeseries
from tenants.schemas.compiler import CompiledTemplate, SqlDirectory, compile_template
from tenants.schemas.roles import as_owner
from tests.backups.engine.conftest import Place
from tests.compiler.support import ROOT, TRADING, kitchen_sink, pg_dump

SMOKE = (ROOT / "tests/templates/trading_smoke.sql").read_text().replace("ROLLBACK;", "COMMIT;")


def dump(place: Place, schema: str, former: str = "") -> list[str]:
    """Everything pg_dump writes of a schema, the schema's name put away; owners, grants and policies included."""
    text = pg_dump(place.server.superuser, "--inserts", f"--schema={schema}", major=place.server.major)
    # Rows may hold a role's name (who did it), and that stays the former one.
    return comparable(text, schema, former or schema)


def comparable(text: str, *names: str) -> list[str]:
    """A dump's lines in an order of their own: where rows stand in a table is nobody's business, nor is the order of a
    policy's roles, which pg_dump takes as it finds them."""
    for name in names:
        text = text.replace(name, "~")
    text = re.sub(r"(?<= TO )~_\w+(?:, ~_\w+)+", lambda found: ", ".join(sorted(found.group().split(", "))), text)
    return sorted(line for line in text.splitlines() if not line.startswith(("--", "\\", "SET ")))


def compiled(place: Place, name: str, tmp_path: Path) -> CompiledTemplate:
    directory = TRADING if name == "trading" else kitchen_sink(place.server.major, tmp_path)
    return compile_template(SqlDirectory(directory), dsn=place.server.dsn)


def populate(place: Place, schema: str, template: CompiledTemplate) -> None:
    """Rows as a busy tenant has them, in partitions beyond those it began with, too."""
    with place.connect() as connection:
        connection.execute(f"SET search_path = {schema}")
        connection.execute(f"SET SESSION AUTHORIZATION {schema}_rw")
        connection.execute(SMOKE.encode())
        connection.execute("RESET SESSION AUTHORIZATION")
    later = timeseries.initial_partitions(schema, template.timeseries, datetime(2031, 1, 1, tzinfo=UTC))
    with psycopg.connect(place.server.dsn.conninfo(), autocommit=True) as connection, as_owner(connection, schema):
        connection.execute(later)
    with place.connect() as connection:
        connection.execute(f"SET search_path = {schema}")
        connection.execute(
            "INSERT INTO ticks (instrument_id, at, sequence, price, quantity, aggressor)"
            " SELECT 1, now() + n * interval '1 second', n, n / 100.0 + 1, n, 'buy' FROM generate_series(1, 5000) n"
        )
        connection.execute(
            "INSERT INTO ticks (instrument_id, at, sequence, price, quantity, aggressor)"
            " SELECT 1, timestamptz '2031-01-01 01:00+00' + n * interval '1 second', n, 7, n, 'sell'"
            " FROM generate_series(1, 3000) n"
        )


@pytest.mark.parametrize("name", ["trading", "kitchen_sink"])
def test_a_schema_comes_back_exactly(
    place: Place, name: str, tmp_path: Path, storage: LocalStorage, keyring: KeyRing, new_prefix: Callable[[], str]
) -> None:
    template = compiled(place, name, tmp_path)
    schema = place.tenant(template)
    if name == "trading":
        populate(place, schema, template)
    prefix = new_prefix()
    told: list[tuple[int, int, int]] = []
    manifest = capture(
        dsn=place.reader, schema=schema, definition=place.definition(template, schema), storage=storage, prefix=prefix,
        keyring=keyring, meta={"tenant": "x"}, registry={"plan": "p"}, on_progress=lambda *args: told.append(args),
    )  # fmt: skip
    assert verify(storage=storage, prefix=prefix, keyring=keyring) == manifest
    assert manifest.rows > (8000 if name == "trading" else 100)

    target = place.roles()
    done = restore(dsn=place.server.dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring, workers=2)
    assert done.rows == manifest.rows
    assert done.fingerprint == place.fingerprint(target) == manifest.fingerprint
    assert dump(place, target, schema) == dump(place, schema)


def test_a_backup_of_the_old_server_comes_back_on_the_new(
    old_place: Place, new_place: Place, tmp_path: Path, storage: LocalStorage, keyring: KeyRing,
    new_prefix: Callable[[], str],
) -> None:  # fmt: skip
    template = compiled(old_place, "trading", tmp_path)
    schema, prefix = old_place.tenant(template), new_prefix()
    populate(old_place, schema, template)
    manifest = capture(
        dsn=old_place.reader, schema=schema, definition=old_place.definition(template, schema), storage=storage,
        prefix=prefix, keyring=keyring,
    )  # fmt: skip
    target = new_place.roles()
    done = restore(dsn=new_place.server.dsn, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    assert done.rows == manifest.rows
    compare_content(dsn=new_place.reader, schema=target, storage=storage, prefix=prefix, keyring=keyring)
    back, older = new_prefix(), old_place.roles()
    definition = new_place.definition(template, target)
    capture(dsn=new_place.reader, schema=target, definition=definition, storage=storage, prefix=back, keyring=keyring)
    with pytest.raises(BackupError, match="PostgreSQL 18 and the server is 15"):
        restore(dsn=old_place.server.dsn, schema=older, storage=storage, prefix=back, keyring=keyring)
