"""The account of the operating system that a PostgreSQL runs as: pgBackRest must run as the same one."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backups.pitr.errors import PitrUnavailable


@dataclass(frozen=True)
class Account:
    """Who runs a server; `switch` says whether we have to become it (we are root)."""

    name: str
    uid: int
    gid: int
    switch: bool

    def command(self, argv: Sequence[str], *, death_signal: str = "TERM") -> list[str]:
        """`argv` to be run as this account; it gets the signal when its parent dies, so that nothing outlives a
        worker that is killed."""
        options = ["--pdeathsig", death_signal]
        if self.switch:
            options += ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups", "--no-new-privs"]
        return ["setpriv", *options, "--", *argv]

    def make_directory(self, path: Path) -> None:
        """A directory of this account alone, and its parents where they are missing."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.own(path)
        path.chmod(0o700)

    def write(self, path: Path, text: str) -> None:
        """A file that only this account reads, in place at once or not at all."""
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            if self.switch:
                os.fchown(handle.fileno(), self.uid, self.gid)
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)

    def own(self, path: Path) -> None:
        """Make `path` this account's."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def account_of(data: Path) -> Account:
    """The owner of a data directory. Raises PitrUnavailable when that is not on this machine, or when we may not act as
    its owner."""
    if shutil.which("setpriv") is None:
        raise PitrUnavailable("The program setpriv is missing.", hint="Install the package util-linux.")
    try:
        status = data.stat()
    except OSError as error:
        raise PitrUnavailable(
            f"The data directory {data} is not to be seen from here.",
            hint="Points in time need a worker on the cluster's own machine.",
        ) from error
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = str(status.st_uid)
    mine = os.getuid()
    if mine not in (0, status.st_uid):
        raise PitrUnavailable(
            f"PostgreSQL runs as {name} and we do not.", hint=f"Run the worker as {name}, or as root, which becomes it."
        )
    return Account(name, status.st_uid, status.st_gid, switch=mine == 0 and status.st_uid != 0)
