"""Reads a template's source into scripts: files of text, decoded, in the order they are to run."""

from __future__ import annotations

import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tenants.exceptions import ControlPlaneError, TemplateRefused
from tenants.postgres import Dsn, binary
from tenants.schemas.compiler import manifest
from tenants.schemas.compiler.model import Draft, DumpFile, LiveSchema, Source, SqlDirectory
from tenants.schemas.compiler.pgdump import live_dump

MAX_SOURCE_BYTES = 512 * 1024 * 1024
RESTORE_TIMEOUT_SECONDS = 900
_NEWEST_MAJOR = 40
_CLIENT_ENCODING = re.compile(rb"^SET client_encoding = '([A-Za-z0-9_]+)';", re.MULTILINE)
_CODECS = {
    "UTF8": "utf-8", "SQL_ASCII": "utf-8", "LATIN1": "latin-1", "LATIN2": "iso8859-2", "LATIN9": "iso8859-15",
    "WIN1250": "cp1250", "WIN1251": "cp1251", "WIN1252": "cp1252", "KOI8R": "koi8-r", "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr", "EUC_CN": "gb2312",
}  # fmt: skip


@dataclass(frozen=True)
class Script:
    """One file of SQL: the name people know it by, and its text."""

    name: str
    text: str


def read_source(source: Source, draft: Draft, dsn: Dsn, *, server_major: int, with_data: bool) -> list[Script]:
    """The scripts of `source`; what its manifest says goes into `draft`. Raises TemplateRefused."""
    if isinstance(source, SqlDirectory):
        return _directory(source.path, draft)
    if isinstance(source, LiveSchema):
        return [Script(f"schema {source.name}", live_dump(dsn, source.name, with_data=with_data))]
    return [_dump(source, server_major)]


def _directory(path: Path, draft: Draft) -> list[Script]:
    if not path.is_dir():
        raise TemplateRefused(reason=f"{path} is not a directory", hint="Give the directory that holds the .sql files.")
    files = sorted(path.glob("*.sql"), key=lambda file: file.name)
    if not files:
        raise TemplateRefused(reason=f"{path} holds no .sql files")
    # Files may call the template's schema by the directory's name.
    draft.schema = path.resolve().name
    if (path / manifest.NAME).exists():
        manifest.read(path / manifest.NAME, draft)
    return [Script(file.name, _decode(_read(file), file.name)) for file in files]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise TemplateRefused(
                reason=f"larger than {MAX_SOURCE_BYTES // 2**20} MiB: a template holds seed rows, not a database",
                file=path.name,
                hint="Dump with --schema-only.",
            )
        return path.read_bytes()
    except OSError as error:
        raise TemplateRefused(reason=f"cannot be read: {error.strerror}", file=path.name) from error


def _decode(content: bytes, name: str) -> str:
    """Text as the script itself declares it (SET client_encoding), UTF-8 otherwise."""
    declared = _CLIENT_ENCODING.search(content, 0, 8192)
    encoding = declared.group(1).decode().upper() if declared else "UTF8"
    codec = _CODECS.get(encoding)
    if codec is None:
        raise TemplateRefused(
            reason=f"its encoding {encoding} is not known here", file=name, hint="Dump with --encoding=UTF8."
        )
    try:
        text = content.decode("utf-8-sig" if codec == "utf-8" else codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TemplateRefused(reason=f"not valid {encoding}", file=name, line=line, hint="Save it as UTF-8.") from error
    if (at := text.find("\0")) >= 0:
        raise TemplateRefused(reason="contains a NUL character", file=name, line=text.count("\n", 0, at) + 1)
    return text


def _dump(source: DumpFile, server_major: int) -> Script:
    path = source.path
    if not path.exists():
        raise TemplateRefused(reason=f"{path} does not exist")
    if path.is_dir() or _is_archive(path):
        return Script(path.name, _decode(_restore(path, server_major), path.name))
    return Script(path.name, _decode(_read(path), path.name))


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(5)
    except OSError as error:
        raise TemplateRefused(reason=f"cannot be read: {error.strerror}", file=path.name) from error
    return head == b"PGDMP" or tarfile.is_tarfile(path)


def _restore(path: Path, server_major: int) -> bytes:
    """An archive as SQL text. A newer pg_restore is tried when the nearest one does not know the archive's format."""
    major, failure = server_major, ""
    while major <= _NEWEST_MAJOR:
        try:
            program = binary("pg_restore", minimum_major=major)
        except ControlPlaneError:
            if not failure:
                raise
            break
        command = [str(program), "--file=-", "--no-owner", str(path.resolve())]
        done = subprocess.run(command, capture_output=True, timeout=RESTORE_TIMEOUT_SECONDS, check=False)
        if done.returncode == 0:
            return done.stdout
        failure = done.stderr.decode(errors="replace").strip().splitlines()[0]
        if "unsupported version" not in failure:
            break
        major += 1
    raise TemplateRefused(reason=f"pg_restore cannot read it: {failure}", file=path.name)
