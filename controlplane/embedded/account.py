"""Who runs the servers: ourselves, or, when we are root, an unprivileged account.

PostgreSQL refuses to run as root, and nothing here should. Root starts the servers through setpriv as
`postgres` or `nobody`. That account must be able to reach its files: parent directories are never opened up
for it; what lies in a closed place (a clone in /root) is put under /var/lib/tenant-control-plane instead.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controlplane.embedded.errors import EmbeddedServerError

SHARED_PLACE = Path("/var/lib/tenant-control-plane")
CANDIDATES = ("postgres", "nobody")  # accounts root may use, best first


@dataclass(frozen=True)
class Account:
    """The account the servers run as; `switch` says whether we have to change to it (we are root)."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def owner(self) -> tuple[int, int]:
        """(uid, gid), for chown."""
        return self.uid, self.gid

    def command(self, argv: list[str], *, death_signal: str | None = None) -> list[str]:
        """`argv` to be run as this account; `death_signal` is sent to it when its parent dies."""
        options = [] if death_signal is None else ["--pdeathsig", death_signal]
        if self.switch:
            options += ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups", "--no-new-privs"]
        return ["setpriv", *options, "--", *argv] if options else argv

    def may_execute(self, path: Path) -> bool:
        """Whether the account can enter the directory, or run the program, `path`."""
        if not self.switch:
            return os.access(path, os.X_OK)
        probe = subprocess.run(
            self.command(["/usr/bin/test", "-x", str(path)]), capture_output=True, text=True, cwd="/"
        )
        if probe.stderr:
            reason = probe.stderr.strip().splitlines()[0]
            raise EmbeddedServerError(f"Cannot start programs as the account {self.name}: {reason}.")
        return probe.returncode == 0

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        """Create `path` for the account alone; its parent must be ours."""
        path.mkdir(mode=0o700, exist_ok=True)
        if self.switch and path.stat().st_uid != self.uid:
            os.chown(path, *self.owner)
        path.chmod(mode)


def service_account(existing: Path | None = None) -> Account:
    """The account for servers on this machine; the owner of an `existing` data directory comes first."""
    if shutil.which("setpriv") is None:
        raise EmbeddedServerError("The program setpriv is missing; install the package util-linux.")
    uid = os.getuid()
    if uid != 0:
        return Account(str(uid), uid, os.getgid(), switch=False)
    names = list(CANDIDATES)
    if existing is not None and existing.exists() and existing.stat().st_uid != 0:
        try:
            names.insert(0, pwd.getpwuid(existing.stat().st_uid).pw_name)
        except KeyError as error:
            message = f"{existing} belongs to the unknown user id {existing.stat().st_uid}; chown it to postgres."
            raise EmbeddedServerError(message) from error
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedServerError("Root needs an account postgres or nobody to run the servers as; create one.")


def shared_place(project: Path) -> Path:
    """Where root keeps what the service account cannot reach inside `project`; created when missing."""
    digest = hashlib.sha256(str(project.resolve()).encode()).hexdigest()[:16]
    place = SHARED_PLACE / digest
    place.mkdir(parents=True, exist_ok=True, mode=0o711)
    for directory in (SHARED_PLACE, place):
        directory.chmod(0o711)
    return place


def reachable_home(home: Path, account: Account, project: Path, say: Callable[[str], None]) -> Path:
    """Create `home` where the account can enter it; returns its real path, and says so if that is elsewhere.

    A moved home lies in `shared_place(project)` and `home` becomes a symbolic link to it.
    """
    home = home.absolute()
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.is_symlink():
        target = home.readlink()
        target.mkdir(exist_ok=True, mode=0o711)
        return target
    home.mkdir(exist_ok=True, mode=0o700)
    if not account.switch:
        return home.resolve()
    home.chmod(0o711)
    if account.may_execute(home):
        return home.resolve()
    target = shared_place(project) / home.name
    if target.exists():
        # Of a checkout that was here before and took its keys with it: not ours to use, nor to delete.
        aside = target.with_name(f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        target.rename(aside)
        say(f"  data of an earlier checkout in this place was set aside: {aside}")
    shutil.move(home, target)
    home.symlink_to(target)
    target.chmod(0o711)
    say(f"  {home} is closed to the account {account.name} that runs the server; the data lies in {target}")
    return target


def reachable_copy(
    program: Path, root: Path, members: list[str], account: Account, project: Path, say: Callable[[str], None]
) -> Path:
    """A path of `program` the account can run: itself, or that in a copy of `members` of the directory `root`.

    The copy lies in `shared_place(project)` under a name made of the program's path, size and time, so that
    a new version of the program gets a new copy.
    """
    if account.may_execute(program):
        return program
    status = program.stat()
    stamp = hashlib.sha256(f"{program}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()[:12]
    place = shared_place(project) / f"{program.name}-{stamp}"
    if not place.exists():
        say(f"  {program} is closed to the account {account.name}; a copy is made in {place}")
        temporary = place.with_name(f"{place.name}.{os.getpid()}")
        temporary.mkdir()
        for member in members:
            source, target = root / member, temporary / member
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy2(source, target)
        try:
            temporary.rename(place)
        except OSError:  # somebody else was faster; theirs is as good
            shutil.rmtree(temporary)
    return place / program.relative_to(root)
