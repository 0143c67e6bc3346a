"""What all commands share: one JSON document or output for people, clear errors, exit codes that mean something."""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import sys
import textwrap
import uuid
from typing import Any, ClassVar

import structlog
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
    handle_default_options,
)
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections

from tenants import postgres
from tenants.actors import Actor, Source
from tenants.exceptions import ControlPlaneError, InvalidInput
from tenants.management.errors import EXIT_CODES, CommandFailed, ExitCode, explain, problem, understand
from tenants.management.output import Output


class HelpFormatter(DjangoHelpFormatter):
    """Fills paragraphs to the terminal's width, and leaves those with indented lines (examples) alone."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            paragraph if "\n  " in paragraph else textwrap.fill(" ".join(paragraph.split()), width)
            for paragraph in paragraphs
        )


class ControlPlaneCommand(BaseCommand):
    """A thin caller of a service.

    A subclass sets `help` and `examples`, adds its own arguments in `arguments`, does the work in `run` and prints
    the document that `run` returned for people in `show`. With `--json` the document itself is printed.
    """

    examples: ClassVar[str] = ""
    # A command must say what is wrong with a cluster even when something else is wrong with the installation.
    requires_system_checks = ()

    def arguments(self, parser: CommandParser) -> None:
        """Add this command's own arguments."""

    def run(self, **options: Any) -> dict[str, Any]:
        """Do it. Returns what there is to tell, for JSON; raises ControlPlaneError."""
        raise NotImplementedError

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        """Print what `run` returned for people."""
        raise NotImplementedError

    # --- what Django calls -----------------------------------------------------------------------------------

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, with examples and exit codes below its help."""
        examples = f"examples:\n{self.examples.strip(chr(10))}\n\n" if self.examples else ""
        kwargs |= {"formatter_class": HelpFormatter, "epilog": examples + EXIT_CODES}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """The arguments of this command, and `--json`."""
        self.arguments(parser)
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document to stdout; errors as JSON to stderr"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it and print what came of it. Raises CommandFailed."""
        self.out = Output(self.stdout, self.stderr, quiet=options["json"], no_color=options["no_color"])
        self.actor = Actor(kind="command", id=user_name(), label=f"{user_name()}@{socket.gethostname()}")
        self.source = Source(channel="command", request_id=uuid.uuid4().hex)
        self.failure: ControlPlaneError | None = None
        try:
            with structlog.contextvars.bound_contextvars(request_id=self.source.request_id):
                document = self.run(**options)
        except Exception as error:
            if options.get("traceback"):
                raise
            raise CommandFailed(understand(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(document, cls=DjangoJSONEncoder, indent=2))
        else:
            self.show(document, self.out, **options)
        if self.failure is not None:
            raise CommandFailed(self.failure)

    @property
    def caller(self) -> dict[str, Any]:
        """Who acts and through which door, as services take it."""
        return {"actor": self.actor, "source": self.source}

    def run_from_argv(self, argv: list[str]) -> None:
        """Entry point of manage.py: as Django's, but every error is a clear message and an exit code."""
        try:
            code = self._run_from_argv(argv)
        finally:
            postgres.close_pools()
            connections.close_all()
        sys.exit(code)

    def _run_from_argv(self, argv: list[str]) -> int:
        as_json = "--json" in argv
        # `_called_from_command_line` stays False: then argparse's errors are raised instead of printed.
        parser = self.create_parser(argv[0], argv[1])
        try:
            options = parser.parse_args(argv[2:])
        except CommandError as error:
            wrong = InvalidInput(str(error).removeprefix("Error: "), code="usage", hint=f"{argv[1]} --help tells more.")
            return self._fail(CommandFailed(wrong), as_json)
        handle_default_options(options)
        if options.verbosity < 2:
            # What went wrong is said by the command itself, not by its log.
            logging.getLogger().setLevel(logging.ERROR)
        try:
            self.execute(**vars(options))
        except CommandFailed as error:
            return self._fail(error, as_json)
        except CommandError as error:
            return self._fail(CommandFailed(InvalidInput(str(error), code="usage")), as_json)
        except KeyboardInterrupt:
            self.stderr.write(f"interrupted{self.interrupted_hint}")
            return ExitCode.INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone away; Python must not complain about it at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.UNEXPECTED
        return ExitCode.OK

    interrupted_hint = ""

    def _fail(self, error: CommandFailed, as_json: bool) -> int:
        if as_json:
            self.stderr.write(json.dumps(problem(error.error), cls=DjangoJSONEncoder))
        else:
            self.stderr.write(explain(error.error))
        return error.returncode


def user_name() -> str:
    """The operating system's name of whoever runs this, or the number when it has none (as in containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
