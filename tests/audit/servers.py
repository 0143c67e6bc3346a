"""Places for checkpoints, over HTTP: an S3-compatible server, and somebody's collector."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

from controlplane.embedded import ports


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3-compatible server that holds nothing."""
    port = ports.pick()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while True:
            try:
                urllib3.request("GET", url, timeout=2, retries=False)
                break
            except urllib3.exceptions.HTTPError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


class Collector:
    """Takes POSTs, and keeps path, headers and body of each; answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that listens."""
    own = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            own.taken.append((self.path, dict(self.headers), body))
            self.send_response(own.status)
            if own.status == 302:
                self.send_header("Location", f"{own.url}/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        server.shutdown()
        server.server_close()
