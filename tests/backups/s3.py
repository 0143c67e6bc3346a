"""An S3-compatible server, and a way to it on which things go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import urllib3

from backups.storage.s3 import S3Options, S3Storage

KEYS = {"aws_access_key_id": "an-id", "aws_secret_access_key": "a-very-secret-key", "region_name": "us-east-1"}


def make_bucket(url: str, name: str, *, lock: bool = False) -> None:
    boto3.client("s3", endpoint_url=url, **KEYS).create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)


def storage_at(url: str, bucket: str, **more: Any) -> S3Storage:
    known = {"access_key_id": KEYS["aws_access_key_id"], "secret_access_key": KEYS["aws_secret_access_key"]}
    return S3Storage(S3Options(bucket, endpoint_url=url, region="us-east-1", addressing_style="path", **known, **more))


class Proxy:
    """Passes requests on; `fault(method, path)` may name what goes wrong: a status, `slow` or `partial`."""

    def __init__(self) -> None:
        self.url = ""
        self.fault: Callable[[str, str], Any] = lambda method, path: None
        self.seen: list[tuple[str, str]] = []


ERROR = b"<Error><Code>%s</Code><Message>out of order</Message></Error>"
CODES = {500: b"InternalError", 503: b"SlowDown", 403: b"AccessDenied"}


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """A proxy in front of `target`."""
    own, pool = Proxy(), urllib3.PoolManager(retries=False)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            own.seen.append((self.command, self.path))
            fault = own.fault(self.command, self.path)
            if isinstance(fault, int):
                self._answer(fault, {}, b"" if self.command == "HEAD" else ERROR % CODES[fault])
                return
            if fault == "slow":
                time.sleep(3)
            found = pool.request(self.command, target + self.path, body=body, headers=dict(self.headers))
            self._answer(found.status, dict(found.headers), found.data, partial=fault == "partial")

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        def _answer(self, status: int, headers: dict[str, str], data: bytes, *, partial: bool = False) -> None:
            self.send_response_only(status)
            kept = {k: v for k, v in headers.items() if k.lower() not in ("transfer-encoding", "connection")}
            if self.command != "HEAD":
                kept = {k: v for k, v in kept.items() if k.lower() != "content-length"}
                kept["Content-Length"] = str(len(data))
            for name, value in kept.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if partial else data)
            if partial:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield own
    finally:
        server.shutdown()
        server.server_close()
