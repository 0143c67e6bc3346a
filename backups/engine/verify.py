"""Checks a backup where it is stored, without a database."""

from __future__ import annotations

from collections.abc import Callable

from backups.engine.container import check_file, read_part
from backups.engine.keys import KeyRing
from backups.engine.manifest import Manifest, read_manifest
from backups.storage.base import Storage

Progress = Callable[[int, int], None]


def verify(
    *, storage: Storage, prefix: str, keyring: KeyRing, deep: bool = True, on_progress: Progress | None = None
) -> Manifest:
    """Read a backup from its first to its last byte and prove that it is what was written.

    `deep` also decrypts and decompresses everything; without it the stored bytes are compared with the signed hashes,
    which costs a fifth. `on_progress(done, total)` hears stored bytes, and may raise to stop.
    Raises Damaged, naming file and cause, KeyMissing, or the storage's errors.
    """
    manifest = read_manifest(storage, prefix, keyring)
    verify_stored(storage, prefix, manifest, on_progress if not deep else None)
    done = 0
    for part in manifest.parts if deep else ():
        for _ in read_part(storage, prefix, part, manifest.opened()):
            if on_progress:
                on_progress(done, manifest.stored_bytes)
        done += part.length
        if on_progress:
            on_progress(done, manifest.stored_bytes)
    return manifest


def verify_stored(storage: Storage, prefix: str, manifest: Manifest, on_progress: Progress | None = None) -> None:
    """Compare all files with the hashes in the (proven) manifest. Raises Damaged."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(done, manifest.stored_bytes)

    for number, name in enumerate(manifest.files, 1):
        parts = [part for part in manifest.parts if part.file == name]
        check_file(storage, prefix, name, number, parts, manifest.backup, advance)
