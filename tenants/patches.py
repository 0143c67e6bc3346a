"""The minor releases below which a server is known to be unsafe for tenants: patch level is isolation."""

from __future__ import annotations

# Minor releases of all majors come out on one day. 15.20 and 18.6 are of the November 2026 releases, which fixed 42
# CVEs (the August ones, 15.19, fixed 29); 16.16 and 17.12 came out with them.
# Source: the release notes, https://www.postgresql.org/docs/release/ and https://www.postgresql.org/support/security/
MINIMUM: dict[int, int] = {15: 20, 16: 16, 17: 12, 18: 6}


def warning(version_num: int) -> str:
    """What to say of a server of this version (as `server_version_num`); empty when it is well patched or unknown."""
    major, minor = divmod(version_num, 10_000)
    wanted = MINIMUM.get(major)
    if wanted is None or minor >= wanted:
        return ""
    return f"PostgreSQL {major}.{minor} lacks security fixes: {major}.{wanted} is the least a cluster should run."
