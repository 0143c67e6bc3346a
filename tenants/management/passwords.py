"""Passwords of servers: never arguments, which everybody on this machine could read."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from tenants.exceptions import InvalidInput


def read_password(file: str | None, *, given: str | None, variable: str) -> str:
    """From a file (`-` is stdin), else `given` (what the environment's `variable` holds), else typed.

    Raises InvalidInput when the file cannot be read, or nobody is there to type.
    """
    if file == "-":
        return sys.stdin.readline().rstrip("\r\n")
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"The password file cannot be read: {error}.", field="password_file") from error
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InvalidInput(
            "The password is missing, and nobody is here to be asked.",
            field="password",
            hint=f"Use --password-file FILE, or set {variable} in the environment.",
        )
    return getpass.getpass("Password: ")
