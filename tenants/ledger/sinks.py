"""The places outside the database that checkpoints are written to, each named by a URL.

file:///var/log/controlplane/checkpoints.jsonl     one line each, appended and synced
s3://bucket/prefix?endpoint_url=https://…          one object each, never overwritten; boto3's usual credentials
https://collector.example.com/checkpoints          one POST each; the document is its own signature
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import urllib3
from django.conf import settings

from tenants.exceptions import InvalidInput
from tenants.ledger.documents import BadDocument, Checkpoint, parse

TIMEOUT_SECONDS = 5.0
# Enough to see whether the log was cut: what is older is vouched for by what is newer.
S3_TAIL = 1_000
_NUMBER = re.compile(r'"number":([0-9]{1,18}),')


class SinkError(Exception):
    """Why a place did not take, or give back, checkpoints."""


class Sink(Protocol):
    """One place outside. `cheap`: reading all of it costs little."""

    name: str
    cheap: bool

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keep these for good. Those it has already are left; raises SinkError, also when it has others."""

    def read(self, after: int) -> list[str] | None:
        """The documents it has with numbers above `after` (or more), oldest first; None where none can be read."""


class FileSink:
    """A file that only grows. Put it on another machine's disk, or have it collected."""

    cheap = True

    def __init__(self, url: str) -> None:
        self.name = url
        self.path = Path(unquote(urlsplit(url).path))

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Append and sync; a line that a crash has torn is written anew."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                last = self._last(handle)
                new = [one for one in checkpoints if last is None or one.number > last.number]
                _refuse_another(self.name, last, checkpoints)
                os.write(handle, "".join(f"{one.document}\n" for one in new).encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise SinkError(f"{self.path}: {error.strerror}") from error

    def _last(self, handle: int) -> Checkpoint | None:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, 16_384, max(0, size - 16_384))
        whole, newline, torn = tail.rpartition(b"\n")
        if torn:
            os.ftruncate(handle, size - len(torn))
        if not newline:
            return None
        try:
            return parse(whole.rpartition(b"\n")[2].decode())
        except (BadDocument, UnicodeError) as error:
            raise SinkError(f"{self.path}: the last line is no checkpoint; was it altered?") from error

    def read(self, after: int) -> list[str]:
        """The lines above `after`, and those that show no number; a missing file has none."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as handle:
                return [line.rstrip("\n") for line in handle if _number(line) > after]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SinkError(f"{self.path}: {error.strerror}") from error


def _number(line: str) -> int:
    """The number in a line that has its canonical form; a very high one for others, which are looked at anyway."""
    match = _NUMBER.search(line)
    return int(match[1]) if match else 2**63


def _refuse_another(name: str, last: Checkpoint | None, checkpoints: Sequence[Checkpoint]) -> None:
    known = {one.number: one for one in checkpoints}
    if last and (last.number > checkpoints[-1].number or known.get(last.number, last).document != last.document):
        raise SinkError(f"{name} has another checkpoint {last.number}: the log here is not the one that was signed")
    if last and last.number + 1 == checkpoints[0].number and checkpoints[0].previous != last.digest:
        raise SinkError(f"{name} has another checkpoint {last.number} than {checkpoints[0].number} continues")


class S3Sink:
    """A bucket, best with object lock: then not even its owner can take anything back."""

    cheap = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if unknown := options.keys() - {"endpoint_url", "region"}:
            raise InvalidInput(f"AUDIT_CHECKPOINT_URLS: s3:// knows no option {min(unknown)}.")
        self.name = url
        self.bucket, self.prefix, self._options = parts.netloc, parts.path.strip("/"), options

    def _client(self) -> Any:
        import boto3  # slow to import, and not everybody's sink
        from botocore.config import Config

        config = Config(
            connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 2}
        )
        return boto3.client(
            "s3",
            endpoint_url=self._options.get("endpoint_url"),
            region_name=self._options.get("region"),
            config=config,
        )

    def _key(self, number: int) -> str:
        return f"{self.prefix}/{number:012d}.json".lstrip("/")

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Put each under its number, unless there is one."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client = self._client()
            for one in checkpoints:
                self._put(client, one)
        except (BotoCoreError, ClientError) as error:
            raise SinkError(f"s3://{self.bucket}: {str(error)[:300]}") from error

    def _put(self, client: Any, one: Checkpoint) -> None:
        from botocore.exceptions import ClientError

        place = {"Bucket": self.bucket, "Key": self._key(one.number)}
        try:
            client.put_object(**place, Body=one.document.encode(), ContentType="application/json", IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 412:
                raise
            there = client.get_object(**place)["Body"].read().decode(errors="replace")
            if there != one.document:
                raise SinkError(f"s3://{self.bucket} has another checkpoint {one.number}") from error

    def read(self, after: int) -> list[str]:
        """Those above `after`, a thousand at most."""
        from botocore.exceptions import BotoCoreError, ClientError

        prefix = f"{self.prefix}/".lstrip("/")
        try:
            client = self._client()
            found = client.list_objects_v2(
                Bucket=self.bucket, Prefix=prefix, StartAfter=self._key(after), MaxKeys=S3_TAIL
            )
            keys = [row["Key"] for row in found.get("Contents", [])]
            bodies = (client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys)
            return [body.decode(errors="replace") for body in bodies]
        except (BotoCoreError, ClientError) as error:
            raise SinkError(f"s3://{self.bucket}: {str(error)[:300]}") from error


class WebhookSink:
    """Somebody else's collector. It verifies the signature in the document, and answers 2xx when it has it."""

    cheap = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise InvalidInput("AUDIT_CHECKPOINT_URLS: a webhook beyond this host has to be https://.")
        self._url = url
        self.name = f"{parts.scheme}://{parts.hostname}{parts.path}"  # without what may be a token

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """POST one after the other."""
        pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS)
        for one in checkpoints:
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{one.log}:{one.number}"}
            try:
                answer = pool.request("POST", self._url, body=one.document.encode(), headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                raise SinkError(f"{self.name} cannot be reached ({type(error).__name__})") from error
            if not 200 <= answer.status < 300:
                raise SinkError(f"{self.name} answered {answer.status}")

    def read(self, after: int) -> None:
        """Nothing comes back from there."""
        return


_KINDS: dict[str, Callable[[str], Sink]] = {
    "file": FileSink,
    "s3": S3Sink,
    "https": WebhookSink,
    "http": WebhookSink,
}


def sinks(urls: Sequence[str] | None = None) -> list[Sink]:
    """Those of AUDIT_CHECKPOINT_URLS, or of `urls`. Raises InvalidInput for a URL of no kind that we know."""
    found = []
    for url in settings.AUDIT_CHECKPOINT_URLS if urls is None else urls:
        make = _KINDS.get(urlsplit(url).scheme)
        if make is None:
            raise InvalidInput(f"AUDIT_CHECKPOINT_URLS: a URL begins with {', '.join(_KINDS)}.")
        found.append(make(url))
    return found
