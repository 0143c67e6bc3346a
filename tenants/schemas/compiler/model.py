"""What goes into the compiler and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tenants.schemas.timeseries import TimeSeries


@dataclass(frozen=True)
class SqlDirectory:
    """Numbered `*.sql` files, executed in the order of their names; `template.toml` beside them is optional."""

    path: Path


@dataclass(frozen=True)
class DumpFile:
    """What pg_dump wrote: plain text, or its custom, directory or tar format."""

    path: Path


@dataclass(frozen=True)
class LiveSchema:
    """A schema of the cluster's own database."""

    name: str


Source = SqlDirectory | DumpFile | LiveSchema


@dataclass(frozen=True)
class ExtensionNeed:
    """An extension the template uses; the clone script expects it in `schema` of the tenants' database."""

    name: str
    schema: str
    version: str


@dataclass(frozen=True)
class CompiledTemplate:
    """A template that has been proven to clone exactly.

    `script` makes a whole clone where `marker` is replaced by the schema's name (see `render`); `fingerprint` is what
    every clone's must equal; `size` counts objects by kind; `server_version_num` is the server's that compiled it.
    """

    script: str
    marker: str
    fingerprint: str
    size: dict[str, int]
    extensions: list[ExtensionNeed]
    timeseries: list[TimeSeries]
    notes: list[str]
    server_version_num: int
    description: str = ""


@dataclass
class Draft:
    """A template on its way through the compiler: what has been learnt so far."""

    schema: str = ""
    description: str = ""
    timeseries: list[TimeSeries] = field(default_factory=list)
    extensions: list[ExtensionNeed] = field(default_factory=list)
    # Where the extensions that could be created are, in the scratch database and in the tenants' one.
    extension_schemas: dict[str, str] = field(default_factory=dict)
    missing_extensions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # The source is a tenant's schema: the row-level security in it is the control plane's, not the template's.
    hardened: bool = False

    def note(self, text: str) -> None:
        """Remember something the operator should know; once."""
        if text not in self.notes:
            self.notes.append(text)
