"""Keys, container and manifest: what was written comes back, and nothing else does."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import secrets
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backups.engine.container import FRAME, HEADER_BYTES, FileWriter, Part, check_file, file_name, read_part
from backups.engine.errors import BackupError, Damaged, KeyMissing
from backups.engine.keys import DataKey, KeyRing
from backups.engine.manifest import (
    NAME,
    Manifest,
    SequenceState,
    Table,
    canonical,
    read_manifest,
    rewrap,
    write_manifest,
)
from backups.engine.verify import verify_stored
from backups.storage.local import LocalStorage
from tenants.exceptions import InvalidInput

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ring(*names: str) -> KeyRing:
    return KeyRing({name: secrets.token_bytes(32) for name in names})


def write(storage: LocalStorage, keyring: KeyRing, files: Iterable[Iterable[bytes]]) -> tuple[str, Manifest]:
    """A backup of these streams, file by file; its prefix and manifest."""
    key = DataKey.new(str(uuid.uuid4()))
    prefix = f"tenant/{key.backup}"
    parts: list[Part] = []
    names = []
    for number, streams in enumerate(files, 1):
        with storage.writer(f"{prefix}/{file_name(number)}") as writer:
            file = FileWriter(writer, key, number, level=1)
            names.append(file.name)
            for stream in streams:
                part = file.part(len(parts) + 1)
                for start in range(0, len(stream), 300_000):
                    part.write(stream[start : start + 300_000])
                parts.append(part.finish())
            writer.commit()
    manifest = Manifest(
        backup=key.backup, created_at="2026-11-23T10:00:00+00:00", snapshot_at="2026-11-23T10:00:00+00:00", lsn="0/0",
        server_version_num=180000, encoding="UTF8", schema="t_x", fingerprint="f", template_fingerprint="f",
        definition=1, registry=None, tables=[Table("t ä", "t ä", ["a"], "text", 1, 1, [1])],
        sequences=[SequenceState("s", 2**63 - 1, True)], matviews=["m"], parts=parts, files=names, extensions=[],
        proof={},
        meta={"tenant": "ä"}, milliseconds=1500, key=keyring.wrap(key), data_key=key,
    )  # fmt: skip
    write_manifest(storage, prefix, manifest.encoded())
    return prefix, manifest


def read(storage: LocalStorage, prefix: str, manifest: Manifest) -> list[bytes]:
    return [b"".join(read_part(storage, prefix, part, manifest.opened())) for part in manifest.parts]


def everything(storage: LocalStorage, prefix: str, keyring: KeyRing) -> list[bytes]:
    """All that a reader of the backup would believe."""
    manifest = read_manifest(storage, prefix, keyring)
    verify_stored(storage, prefix, manifest)
    return read(storage, prefix, manifest)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


@FAST
@given(
    st.lists(st.lists(st.binary(max_size=2000), max_size=4), min_size=1, max_size=3),
    st.integers(0, 3 * FRAME),
)
def test_what_goes_in_comes_out(tmp_path: Path, streams: list[list[bytes]], noise: int) -> None:
    storage, keyring = LocalStorage(tmp_path), ring("k")
    streams[0].append(secrets.token_bytes(noise))
    prefix, manifest = write(storage, keyring, streams)
    found = read_manifest(storage, prefix, keyring)
    assert dataclasses.replace(found) == manifest
    assert everything(storage, prefix, keyring) == [stream for file in streams for stream in file]


def test_sizes_around_a_frame_come_back_and_nothing_is_legible(storage: LocalStorage) -> None:
    keyring = ring("k")
    streams = [secrets.token_bytes(FRAME + d) for d in (-20, -1, 0, 1)] + [b"SECRET WORD " * 500_000, b""]
    prefix, manifest = write(storage, keyring, [streams])
    assert everything(storage, prefix, keyring) == streams
    stored = (storage.root / prefix / file_name(1)).read_bytes()
    assert b"SECRET" not in stored
    assert all(part.sha256 == hashlib.sha256(s).hexdigest() for part, s in zip(manifest.parts, streams, strict=True))
    assert manifest.parts[4].length < 10_000


def test_every_byte_of_every_file_counts(storage: LocalStorage) -> None:
    """A small backup, each of its bytes altered in turn: never is anything believed that was not written."""
    keyring = ring("k")
    streams = [b"first", b"second" * 20]
    prefix, _ = write(storage, keyring, [streams, [b"third"]])
    named = set()
    for path in sorted((storage.root / prefix).iterdir()):
        content = path.read_bytes()
        for at in range(len(content)):
            changed = bytearray(content)
            changed[at] ^= 1 + secrets.randbelow(255)
            path.write_bytes(changed)
            try:
                found = everything(storage, prefix, keyring)
            except Damaged as error:
                named.add((path.name, error.file))
            except KeyMissing:  # the key's name was altered
                named.add((path.name, NAME))
            else:  # the line's end behind the JSON may be any space: what is read is what was written
                assert (path.name, at) == (NAME, len(content) - 1)
                assert found == [*streams, b"third"]
        path.write_bytes(content)
    assert everything(storage, prefix, keyring) == [*streams, b"third"]
    assert named == {(name, name) for name in (file_name(1), file_name(2), NAME)}  # the altered file is the one named


def test_opening_alone_notices_each_altered_byte_too(storage: LocalStorage) -> None:
    """Without the look at the stored hashes before: the frames themselves are authenticated."""
    prefix, manifest = write(storage, ring("k"), [[b"first", b"second" * 20]])
    path = storage.root / prefix / file_name(1)
    content = path.read_bytes()
    for at in range(HEADER_BYTES, len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x20
        path.write_bytes(changed)
        with pytest.raises(Damaged, match=r"data-0001\.cpb"):
            read(storage, prefix, manifest)


@pytest.mark.parametrize("name", [file_name(1), NAME])
def test_every_truncation_is_refused(storage: LocalStorage, name: str) -> None:
    keyring = ring("k")
    prefix, _ = write(storage, keyring, [[b"some data", b""]])
    path = storage.root / prefix / name
    content = path.read_bytes()
    for length in range(len(content) - 1):  # the last byte of the manifest is a line's end
        path.write_bytes(content[:length])
        with pytest.raises(Damaged, match=name):
            everything(storage, prefix, keyring)
    path.unlink()
    with pytest.raises(Damaged, match=f"{name}.*missing"):
        everything(storage, prefix, keyring)


def test_frames_and_parts_cannot_change_places(storage: LocalStorage) -> None:
    """Not even by somebody who also alters hashes and places in the manifest."""
    streams = [secrets.token_bytes(3 * FRAME), secrets.token_bytes(3 * FRAME)]
    prefix, manifest = write(storage, ring("k"), [streams])
    first, second = manifest.parts
    swapped = dataclasses.replace(
        first, offset=second.offset, length=second.length, sha256=second.sha256, stored_sha256=second.stored_sha256
    )
    with pytest.raises(Damaged, match="frame 0 of part 1 was altered or is another's"):
        b"".join(read_part(storage, prefix, swapped, manifest.opened()))

    path = storage.root / prefix / file_name(1)
    content = bytearray(path.read_bytes())
    size = 4 + FRAME + 16
    one, two = first.offset, first.offset + size
    content[one : one + size], content[two : two + size] = content[two : two + size], content[one : one + size]
    path.write_bytes(content)
    with pytest.raises(Damaged, match="frame 0 of part 1"):
        b"".join(read_part(storage, prefix, first, manifest.opened()))


def test_a_part_cut_after_a_whole_frame_is_noticed_without_hashes(storage: LocalStorage) -> None:
    prefix, manifest = write(storage, ring("k"), [[secrets.token_bytes(2 * FRAME)]])
    cut = dataclasses.replace(manifest.parts[0], length=4 + FRAME + 16)
    with pytest.raises(Damaged, match="ends before its last frame"):
        b"".join(read_part(storage, prefix, cut, manifest.opened()))


def test_files_of_other_backups_and_of_no_backup_are_refused(storage: LocalStorage) -> None:
    keyring = ring("k")
    one, _ = write(storage, keyring, [[b"same"], [b"other"]])
    two, _ = write(storage, keyring, [[b"same"], [b"other"]])
    root = storage.root
    for source, target, cause in (
        (f"{one}/{file_name(1)}", f"{two}/{file_name(1)}", "belongs to another backup"),
        (f"{two}/{file_name(2)}", f"{two}/{file_name(1)}", "is data-0002.cpb under another name"),
        (f"{one}/{NAME}", f"{two}/{NAME}", "belongs to another backup"),
        (f"{two}/{NAME}", f"{two}/{file_name(1)}", "no data file of a backup"),
        (f"{two}/{file_name(1)}", f"{two}/{NAME}", "no JSON"),
    ):
        before, wrong = (root / target).read_bytes(), (root / source).read_bytes()
        (root / target).write_bytes(wrong)
        with pytest.raises(Damaged, match=f"{Path(target).name}.*{cause}"):
            everything(storage, two, keyring)
        (root / target).write_bytes(before)
    assert everything(storage, two, keyring) == [b"same", b"other"]
    shutil.copytree(root / two, root / "tenant" / str(uuid.uuid4()))  # a backup under another one's id
    copied = next(p for p in (root / "tenant").iterdir() if p.name not in {one[7:], two[7:]})
    with pytest.raises(Damaged, match="belongs to another backup"):
        read_manifest(storage, f"tenant/{copied.name}", keyring)


@FAST
@given(st.binary(max_size=400) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "header", "body", "signature", "key", "id", "nonce", "wrapped", "backup", "x"]),
        inner, max_size=5),
    max_leaves=12).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_other_file_as_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    storage, prefix = LocalStorage(tmp_path), f"t/{uuid.uuid4()}"
    write_manifest(storage, prefix, content)
    with pytest.raises(BackupError):
        read_manifest(storage, prefix, ring("k"))


def test_a_wrong_key_is_told_from_a_missing_one(storage: LocalStorage) -> None:
    keyring = ring("2026-1")
    prefix, _ = write(storage, keyring, [[b"x"]])
    with pytest.raises(KeyMissing, match="'2026-1', which is not configured"):
        read_manifest(storage, prefix, ring("2026-2"))
    with pytest.raises(Damaged, match=r"manifest\.json.*'2026-1' does not open it"):
        read_manifest(storage, prefix, ring("2026-1"))
    with pytest.raises(KeyMissing):
        KeyRing({}).newest()


def test_rotation_changes_the_header_alone(storage: LocalStorage) -> None:
    old = ring("old")
    prefix, _ = write(storage, old, [[b"x" * 1000]])
    path = storage.root / prefix / NAME
    before, data = json.loads(path.read_bytes()), (storage.root / prefix / file_name(1)).read_bytes()
    both = KeyRing({**ring("new").keys, **old.keys})
    assert rewrap(storage, prefix, both)
    assert not rewrap(storage, prefix, both)
    after = json.loads(path.read_bytes())
    assert (after["body"], after["signature"]) == (before["body"], before["signature"])
    assert after["header"]["key"]["id"] == "new"
    assert (storage.root / prefix / file_name(1)).read_bytes() == data
    assert everything(storage, prefix, KeyRing({"new": both.keys["new"]})) == [b"x" * 1000]
    with pytest.raises(KeyMissing):
        read_manifest(storage, prefix, old)


def test_a_wrapped_key_opens_no_other_backup() -> None:
    keyring = ring("k")
    wrapped = keyring.wrap(DataKey.new(str(uuid.uuid4())))
    with pytest.raises(ValueError, match="does not open"):
        keyring.unwrap(wrapped, str(uuid.uuid4()))


def test_keys_are_read_from_the_setting_and_never_shown() -> None:
    one, two = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    keyring = KeyRing.parse([f" 2026-11:{one}", base64.urlsafe_b64encode(base64.b64decode(two)).decode()])
    assert list(keyring.keys) == ["2026-11", hashlib.sha256(base64.b64decode(two)).hexdigest()[:8]]
    assert keyring.newest() == "2026-11"
    assert one not in repr(keyring)
    assert one not in repr(DataKey(base64.b64decode(one), "b"))
    for bad in (["short:aGVsbG8="], ["a b:" + one], [one + "!"], [f"a:{one}", f"a:{two}"], ["a:"], [""]):
        with pytest.raises(InvalidInput) as error:
            KeyRing.parse(bad)
        assert one not in str(error.value)


def test_canonical_json_is_one_text() -> None:
    assert canonical({"b": 1, "a": ["ä", None]}) == b'{"a":["\\u00e4",null],"b":1}'


def test_a_huge_and_dull_stream_is_read_in_small_blocks(storage: LocalStorage) -> None:
    """64 MiB of zeros are a few kilobytes in one frame; nobody has to hold all of them."""
    prefix, manifest = write(storage, ring("k"), [[bytes(64 * FRAME)]])
    assert manifest.parts[0].length < 20_000
    blocks = [len(block) for block in read_part(storage, prefix, manifest.parts[0], manifest.opened())]
    assert sum(blocks) == 64 * FRAME
    assert max(blocks) <= FRAME


def test_check_file_tells_bytes_as_it_goes(storage: LocalStorage) -> None:
    prefix, manifest = write(storage, ring("k"), [[secrets.token_bytes(3 * FRAME)]])
    seen: list[int] = []
    check_file(storage, prefix, file_name(1), 1, manifest.parts, manifest.backup, seen.append)
    assert sum(seen) == manifest.stored_bytes
    assert len(seen) >= 3
