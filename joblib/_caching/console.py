"""The command line of ``python -m joblib cache``: what can be asked, and how.

Exit codes: 0 when done, 1 when something could not be removed, 2 for a wrong command
line, a place that is no cache, and what nobody confirmed.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from typing import TYPE_CHECKING, Any

from . import commands
from .budget import parse_size
from .commands import LIMIT, SORTS, Refusal
from .places import NoCacheError

if TYPE_CHECKING:
    from collections.abc import Callable

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands of a cache to a parser; `run` runs them.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[Any], int], text: str) -> Any:
        command = subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument(
            "path", metavar="PATH", help="what was given to Memory, or its directory"
        )
        command.add_argument("--json", action="store_true", help="output for scripts")
        return command

    function_help = "only this function: its name, the end of it, or a pattern with *"

    command = add("list", commands.list_results, "list the results")
    command.add_argument("--function", metavar="NAME", help=function_help)
    command.add_argument(
        "--sort",
        choices=[*SORTS, "function"],
        default="last-use",
        help="what comes first: the largest, the latest... (default: %(default)s)",
    )
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument(
        "--limit",
        type=_count,
        metavar="N",
        help=f"how many, 0 for all (default: {LIMIT}; all with --json)",
    )

    command = add("show", commands.show_results, "show all that is known of results")
    command.add_argument(
        "which",
        nargs="?",
        metavar="ENTRY|FUNCTION",
        help="the first characters of an id, or a function; left out if PATH is the "
        "directory of an entry, or to show the whole cache",
    )

    add("size", commands.size_results, "sum up the sizes by function")

    command = add(
        "prune", commands.prune_results, "remove the least recently used results"
    )
    command.add_argument(
        "--max-size", type=_size_limit, metavar="SIZE", help="5G, 500M"
    )
    command.add_argument("--max-age", type=_age, metavar="AGE", help="30d, 12h, 2w")
    command.add_argument("--max-items", type=_count, metavar="N")
    command.add_argument(
        "--dry-run", action="store_true", help="only say what would go"
    )

    command = add("clear", commands.clear_results, "remove all results")
    command.add_argument("--function", metavar="NAME", help=function_help)
    command.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : argparse.Namespace
        As by a parser that `add_commands` was given.

    Returns
    -------
    int
        The exit code.
    """
    try:
        code: int = arguments.run(arguments)
        return code
    except (NoCacheError, Refusal) as error:
        print(f"joblib cache: {error}", file=sys.stderr)
        return 2


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return int(text)


def _size_limit(text: str) -> int:
    if text.strip() == "0":
        return 0
    try:
        return parse_size(text, "SIZE")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _age(text: str) -> datetime.timedelta:
    match = _AGE.fullmatch(text.strip())
    try:
        if match is not None:
            seconds = float(match[1]) * _AGE_UNITS[match[2]]
            return datetime.timedelta(seconds=seconds)
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(
        f"expected a number and s, m, h, d or w, such as 30d or 12h, got {text!r}"
    )
