"""Files of a backup: parts, each a stream that was compressed, cut into frames and encrypted.

    file   = header part*                  header = "CPB1" format backup-id file-number
    part   = frame* last-frame             frame  = length|last (4 bytes) ciphertext tag

A frame holds at most 1 MiB of zstd's output. Its nonce is (part, frame), its associated data names format, backup,
part, frame and whether it is the last: whatever is flipped, cut off, swapped or brought from elsewhere does not open.
The SHA-256 of a part's stored bytes and of the stream in it stand in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backups.engine.errors import Damaged
from backups.engine.keys import DataKey
from backups.storage.base import NotStored, Storage, Writer

MAGIC = b"CPB1"
FORMAT = 1
FRAME = 1024 * 1024
TAG = 16
SMALL = 64 * 1024  # copied once more rather than written in two goes
BLOCK = 1024 * 1024
_HEADER = struct.Struct(">4sH16sI")
_LENGTH = struct.Struct(">I")
_BOUND = struct.Struct(">4sH16sIQB")
_NONCE = struct.Struct(">IQ")
_LAST = 1 << 31
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Part:
    """One stream: where it is stored, and what it must be. Sizes in bytes."""

    number: int
    file: str
    offset: int
    length: int
    raw: int
    sha256: str
    stored_sha256: str

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def file_name(number: int) -> str:
    """What the data file of this number is called below the backup's prefix."""
    return f"data-{number:04}.cpb"


def header(backup: str, number: int) -> bytes:
    """The first bytes of a data file."""
    return _HEADER.pack(MAGIC, FORMAT, uuid.UUID(backup).bytes, number)


class FileWriter:
    """One data file being written, part after part, by one thread."""

    def __init__(self, writer: Writer, key: DataKey, number: int, *, level: int) -> None:
        self.name, self.size, self.number = file_name(number), 0, number
        self._writer, self._backup = writer, uuid.UUID(key.backup).bytes
        self._cipher = key.frames()
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=False)
        self._put(header(key.backup, number), None)

    def part(self, number: int) -> PartWriter:
        """A new part at the end of the file; `number` is used once in a backup."""
        return PartWriter(self, number)

    def _put(self, data: bytes, digest: Any) -> None:
        self._writer.write(data)
        self.size += len(data)
        if digest is not None:
            digest.update(data)


class PartWriter:
    """One part being written: `write` what is in it, then `finish`."""

    def __init__(self, file: FileWriter, number: int) -> None:
        self._file, self._number, self._frame, self._start = file, number, 0, file.size
        self._chunks = file._compressor.chunker(chunk_size=FRAME)
        self._held: bytes | None = None
        self._raw, self._digest, self._stored = 0, hashlib.sha256(), hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append to the stream. Memory does not grow with it."""
        self._raw += len(data)
        self._digest.update(data)
        for chunk in self._chunks.compress(data):
            self._hold(chunk)

    def finish(self) -> Part:
        """Seal the last frame. What the manifest says of the part."""
        for chunk in self._chunks.finish():
            self._hold(chunk)
        self._seal(self._held or b"", last=True)
        length = self._file.size - self._start
        return Part(
            self._number, self._file.name, self._start, length, self._raw, self._digest.hexdigest(),
            self._stored.hexdigest(),
        )  # fmt: skip

    def _hold(self, chunk: bytes) -> None:
        """One frame is held back, since the last one is marked."""
        if self._held is not None:
            self._seal(self._held, last=False)
        self._held = chunk

    def _seal(self, plain: bytes, *, last: bool) -> None:
        bound = _bound(self._file._backup, self._number, self._frame, last)
        sealed = self._file._cipher.encrypt(_NONCE.pack(self._number, self._frame), plain, bound)
        length = _LENGTH.pack(len(sealed) | (_LAST if last else 0))
        for data in (length + sealed,) if len(sealed) < SMALL else (length, sealed):
            self._file._put(data, self._stored)
        self._frame += 1


def _bound(backup: bytes, part: int, frame: int, last: bool) -> bytes:
    return _BOUND.pack(MAGIC, FORMAT, backup, part, frame, last)


class _Frames(io.RawIOBase):
    """The compressed bytes of one part, decrypted frame by frame. Raises Damaged."""

    def __init__(self, source: BinaryIO, part: Part, cipher: AESGCM, backup: bytes, seen: Any) -> None:
        self._source, self._part, self._cipher, self._backup, self._seen = source, part, cipher, backup, seen
        self._left, self._frame, self._done = part.length, 0, False
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain and not self._done:
            self._plain = memoryview(self._next())
        count = min(len(buffer), len(self._plain))
        memoryview(buffer)[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _next(self) -> bytes:
        (word,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        length, last = word & ~_LAST, bool(word & _LAST)
        if not TAG <= length <= FRAME + TAG:
            raise Damaged(self._part.file, f"frame {self._frame} of part {self._part.number} has an impossible length")
        sealed = self._exactly(length)
        bound = _bound(self._backup, self._part.number, self._frame, last)
        try:
            plain = self._cipher.decrypt(_NONCE.pack(self._part.number, self._frame), sealed, bound)
        except InvalidTag as error:
            raise Damaged(
                self._part.file, f"frame {self._frame} of part {self._part.number} was altered or is another's"
            ) from error
        self._frame += 1
        if last:
            self._done = True
            if self._left:
                raise Damaged(self._part.file, f"part {self._part.number} goes on behind its last frame")
        return plain

    def _exactly(self, count: int) -> bytes:
        if count > self._left:
            raise Damaged(self._part.file, f"part {self._part.number} ends before its last frame")
        data = read_exactly(self._source, count)
        if len(data) < count:
            raise Damaged(self._part.file, f"it ends within part {self._part.number}")
        self._left -= count
        self._seen.update(data)
        return data


def read_exactly(source: BinaryIO, count: int) -> bytes:
    """`count` bytes, or what there is before the end."""
    data = source.read(count)
    if len(data) == count or not data:
        return data
    pieces = [data]
    while (missing := count - sum(map(len, pieces))) and (more := source.read(missing)):
        pieces.append(more)
    return b"".join(pieces)


def read_part(storage: Storage, prefix: str, part: Part, key: DataKey) -> Iterator[bytes]:
    """The stream of a part, in blocks of at most 1 MiB. Raises Damaged as soon as something is not what was written:
    at the last block at the latest, so what came before it counts only when the iteration ends."""
    digest, seen, size = hashlib.sha256(), hashlib.sha256(), 0
    with opened(storage, prefix, part.file, part.offset, part.length) as source:
        frames = _Frames(source, part, key.frames(), uuid.UUID(key.backup).bytes, seen)
        try:
            with zstandard.ZstdDecompressor().stream_reader(
                cast(BinaryIO, frames), read_size=FRAME, closefd=False
            ) as stream:
                while block := stream.read(BLOCK):
                    size += len(block)
                    if size > part.raw:
                        break
                    digest.update(block)
                    yield block
        except zstandard.ZstdError as error:
            raise Damaged(part.file, f"part {part.number} cannot be decompressed") from error
        if size == part.raw:  # what is behind zstd's end must be frames' end, too
            while frames.read(FRAME):
                pass
    if size != part.raw or digest.hexdigest() != part.sha256:
        raise Damaged(part.file, f"part {part.number} holds something else than the manifest says")
    if seen.hexdigest() != part.stored_sha256:
        raise Damaged(part.file, f"part {part.number} is stored otherwise than the manifest says")


def opened(storage: Storage, prefix: str, name: str, offset: int, length: int) -> BinaryIO:
    """A stream of a piece of a file of the backup. Raises Damaged when the file is gone."""
    try:
        return storage.reader(f"{prefix}/{name}", offset, length)
    except NotStored as error:
        raise Damaged(name, "the file is missing") from error


def check_file(
    storage: Storage,
    prefix: str,
    name: str,
    number: int,
    parts: list[Part],
    backup: str,
    on_bytes: Callable[[int], None],
) -> None:
    """Compare a file's stored bytes, from the first to the last, with what the manifest says of them, without opening
    them. Raises Damaged."""
    try:
        size = storage.size(f"{prefix}/{name}")
    except NotStored as error:
        raise Damaged(name, "the file is missing") from error
    expected = HEADER_BYTES + sum(part.length for part in parts)
    with opened(storage, prefix, name, 0, max(size, 1)) as source:
        _check_header(name, read_exactly(source, HEADER_BYTES), backup, number)
        if size != expected:
            raise Damaged(name, f"it has {size} bytes where {expected} were written")
        for part in sorted(parts, key=lambda p: p.offset):
            digest, left = hashlib.sha256(), part.length
            while left and (data := source.read(min(left, BLOCK))):
                digest.update(data)
                left -= len(data)
                on_bytes(len(data))
            if left or digest.hexdigest() != part.stored_sha256:
                raise Damaged(name, f"part {part.number} is not what was written (SHA-256 differs)")


def _check_header(name: str, found: bytes, backup: str, number: int) -> None:
    if len(found) < HEADER_BYTES or found[:4] != MAGIC:
        raise Damaged(name, "this is no data file of a backup")
    _, version, owner, file = _HEADER.unpack(found)
    if version != FORMAT:
        raise Damaged(name, f"it is written in format {version}, and only {FORMAT} is known here")
    if owner != uuid.UUID(backup).bytes:
        raise Damaged(name, f"it belongs to another backup ({uuid.UUID(bytes=owner)})")
    if file != number:
        raise Damaged(name, f"it is {file_name(file)} under another name")
