"""gunicorn reads this by itself. What it refuses before Django sees it is a problem+json too, never HTML."""

import json
import socket
from http import HTTPStatus

from gunicorn import util

from controlplane.metrics import files

limit_request_line = 8190
CODES = {414: "uri_too_long", 431: "headers_too_large", 500: "internal_error"}
DETAILS = {414: "The URL is too long.", 431: "The headers are too large.", 500: "Something went wrong here."}


def write_problem(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """In place of gunicorn's own page; `message` quotes what was sent and stays in the log."""
    code = CODES.get(status, "bad_request")
    body = {
        "type": f"/problems/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
        "detail": DETAILS.get(status, "This is not a valid HTTP request."),
    }
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("ascii") + content)


util.write_error = write_problem


def child_exit(server: object, worker: object) -> None:
    """What a dead process has counted stays in the sums."""
    try:
        files.fold()
    except OSError as error:
        server.log.warning("metrics of a dead process were not folded: %s", error)  # type: ignore[attr-defined]
