"""`python -m controlplane.embedded`: servers for one machine. See `--help`."""

import argparse
import sys
from pathlib import Path

from controlplane.embedded.errors import EmbeddedServerError
from controlplane.embedded.execute import execute
from controlplane.embedded.postgres import PROJECT
from controlplane.embedded.supervisor import Supervisor


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m controlplane.embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "exec",
        help="run a command beside throw-away servers",
        description="Starts PostgreSQL 18 and Redis, sets DATABASE_URL, SUPERUSER_DATABASE_URL and REDIS_URL, runs "
        "the command, removes everything and returns the command's exit code.",
    )
    run.add_argument("--with-postgres15", action="store_true", help="also PostgreSQL 15: POSTGRES15_URL")
    run.add_argument("--durable", action="store_true", help="with fsync, as in production (for measuring)")
    run.add_argument("argv", nargs="+", metavar="CMD", help="the command, after --")
    start = commands.add_parser(
        "run",
        help="run the control plane on this machine (make run)",
        description="Starts PostgreSQL and Redis unless DATABASE_URL and REDIS_URL name some, prepares the "
        "registry, then runs web server (PORT, default 8000), worker and beat until SIGINT or SIGTERM.",
    )
    start.add_argument("--home", type=Path, default=PROJECT / ".local", help="where everything is kept")
    return parser


def main(arguments: list[str]) -> int:
    """Run one sub-command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "run":
            return Supervisor(options.home).run()
        return execute(options.argv, postgres15=options.with_postgres15, durable=options.durable)
    except EmbeddedServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
