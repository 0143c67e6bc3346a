"""The manifest: what a backup holds, signed. It is written last; without it there is no backup.

    {"format": 1, "header": {"key": …}, "body": {…}, "signature": "…"}

The signature is over the body as canonical JSON. The header holds the wrapped key alone, so that `rewrap` changes
nothing else.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backups.engine.container import FORMAT, Part
from backups.engine.errors import Damaged
from backups.engine.keys import DataKey, KeyRing, WrappedKey
from backups.storage.base import NotStored, Storage

NAME = "manifest.json"
MAX_BYTES = 512 * 1024 * 1024
BINARY, TEXT = "binary", "text"


@dataclass(frozen=True)
class Table:
    """The rows of one table or partition. `target` is where they are loaded: itself, or the root of its partitions.

    `format` is COPY's; `raw` the bytes of its parts' streams; `columns` what they hold, in order.
    """

    name: str
    target: str
    columns: list[str]
    format: str
    rows: int
    raw: int
    parts: list[int]


@dataclass(frozen=True)
class SequenceState:
    """Where a sequence stands."""

    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. Times are ISO 8601 with time zone; sizes are bytes; `meta` is its maker's, in clear."""

    backup: str
    created_at: str
    snapshot_at: str
    lsn: str
    server_version_num: int
    encoding: str
    schema: str
    fingerprint: str
    template_fingerprint: str
    definition: int
    registry: int | None
    tables: list[Table]
    sequences: list[SequenceState]
    matviews: list[str]
    parts: list[Part]
    files: list[str]
    extensions: list[list[str]]
    proof: dict[str, Any]
    meta: dict[str, Any]
    milliseconds: int = 0
    key: WrappedKey | None = None
    data_key: DataKey | None = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """How long taking it lasted."""
        return self.milliseconds / 1000

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def raw_bytes(self) -> int:
        """Bytes before compression."""
        return sum(part.raw for part in self.parts)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the data files' parts, as stored."""
        return sum(part.length for part in self.parts)

    def part(self, number: int) -> Part:
        """The part of this number."""
        return self.parts[number - 1]

    def opened(self) -> DataKey:
        """The key that opens the parts; there is one when `read_manifest` or `capture` made this."""
        if self.data_key is None:
            raise Damaged(NAME, "it was not opened with a key")
        return self.data_key

    def body(self) -> dict[str, Any]:
        """The signed part, as JSON's types."""
        body = {name: value for name, value in vars(self).items() if name not in ("key", "data_key")}
        for name in ("tables", "sequences", "parts"):  # not by asdict, which copies everything deeply
            body[name] = [vars(each) for each in body[name]]
        return body

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Manifest:
        """What `body` made. Raises KeyError, TypeError or ValueError for anything else."""
        fields = dict(body)
        fields["tables"] = [Table(**table) for table in fields["tables"]]
        fields["sequences"] = [SequenceState(**sequence) for sequence in fields["sequences"]]
        fields["parts"] = [Part(**part) for part in fields["parts"]]
        if [part.number for part in fields["parts"]] != list(range(1, len(fields["parts"]) + 1)):
            raise ValueError("the parts are not numbered from 1")
        datetime.fromisoformat(fields["snapshot_at"])
        return cls(**fields)

    def encoded(self) -> bytes:
        """The file's content."""
        if self.key is None:
            raise ValueError("a manifest needs its wrapped key")
        body = self.body()
        return _encoded(self.key, body, self.opened().sign(canonical(body)))


def _encoded(key: WrappedKey, body: dict[str, Any], signature: str) -> bytes:
    whole = {"format": FORMAT, "header": {"key": key.as_json()}, "body": body, "signature": signature}
    return canonical(whole) + b"\n"


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def write_manifest(storage: Storage, prefix: str, content: bytes) -> None:
    """Put a manifest in place: the moment from which the backup exists."""
    with storage.writer(f"{prefix}/{NAME}") as writer:
        writer.write(content)
        writer.commit()


def read_manifest(storage: Storage, prefix: str, keyring: KeyRing) -> Manifest:
    """The manifest below `prefix`, its signature proven.

    Raises Damaged (missing, altered, cut off, another backup's, not one at all) and KeyMissing.
    """
    whole = _load(storage, prefix)
    body = whole["body"]
    key, data_key = _open(whole, prefix, keyring)
    try:
        signature = data_key.sign(canonical(body))
    except ValueError as error:  # a number too large for JSON
        raise Damaged(NAME, "its body is no JSON: it was altered") from error
    if not hmac.compare_digest(signature.encode(), str(whole["signature"]).encode()):
        raise Damaged(NAME, "its signature does not fit: it was altered")
    try:
        manifest = Manifest.from_body(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(NAME, f"it is signed, but not of this format ({error})") from error
    return dataclasses.replace(manifest, key=key, data_key=data_key)


def rewrap(storage: Storage, prefix: str, keyring: KeyRing) -> bool:
    """Wrap the backup's key with the ring's newest one; False when it is already. Only the manifest's header changes.

    Raises as `read_manifest` does.
    """
    manifest = read_manifest(storage, prefix, keyring)
    if manifest.key is not None and manifest.key.id == keyring.newest():
        return False
    content = dataclasses.replace(manifest, key=keyring.wrap(manifest.opened())).encoded()
    write_manifest(storage, prefix, content)
    return True


def _load(storage: Storage, prefix: str) -> dict[str, Any]:
    try:
        if storage.size(f"{prefix}/{NAME}") > MAX_BYTES:
            raise Damaged(NAME, "it is larger than any manifest")
        with storage.reader(f"{prefix}/{NAME}") as file:
            content = file.read()
    except NotStored as error:
        raise Damaged(NAME, "it is missing: the backup was never finished, or is gone") from error
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(NAME, "it is no JSON: cut off, altered or another file") from error
    if not isinstance(whole, dict) or set(whole) != {"format", "header", "body", "signature"}:
        raise Damaged(NAME, "this is no manifest of a backup")
    if whole["format"] != FORMAT or isinstance(whole["format"], bool):
        raise Damaged(NAME, f"it is written in format {whole['format']!r}, and only {FORMAT} is known here")
    return whole


def _open(whole: dict[str, Any], prefix: str, keyring: KeyRing) -> tuple[WrappedKey, DataKey]:
    body = whole["body"]
    backup = body.get("backup") if isinstance(body, dict) else None
    if not isinstance(backup, str):
        raise Damaged(NAME, "it names no backup")
    if backup != prefix.rstrip("/").rsplit("/", 1)[-1]:
        raise Damaged(NAME, f"it belongs to another backup ({backup})")
    if not isinstance(whole["header"], dict) or set(whole["header"]) != {"key"}:
        raise Damaged(NAME, "its header is not one")
    try:
        wrapped = WrappedKey.from_json(whole["header"]["key"])
        return wrapped, keyring.unwrap(wrapped, backup)
    except ValueError as error:
        raise Damaged(NAME, str(error)) from error
