"""Arguments for labels and limits, which several commands take."""

from __future__ import annotations

from django.core.management.base import CommandParser

from tenants.management.lookup import number_pair, pair
from tenants.models.plans import LIMITS


def label_arguments(parser: CommandParser) -> None:
    """`--label KEY=VALUE`, repeatable."""
    parser.add_argument("--label", type=pair, action="append", metavar="KEY=VALUE", help="a label (repeatable)")


def limit_arguments(parser: CommandParser) -> None:
    """`--limit NAME=NUMBER`, repeatable."""
    parser.add_argument(
        "--limit",
        type=number_pair,
        action="append",
        metavar="NAME=NUMBER",
        help=f"a limit that differs from the plan's (repeatable): {', '.join(LIMITS)}",
    )
