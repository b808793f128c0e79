"""``python -m joblib``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from . import __version__
from ._caching import console

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process when left out.

    Returns
    -------
    int
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m joblib",
        description="Tools of joblib: parallel loops, cached calls, fast persistence.",
        epilog="Example: python -m joblib cache list PATH",
    )
    parser.add_argument("--version", action="version", version=f"joblib {__version__}")
    tools = parser.add_subparsers(dest="tool", metavar="TOOL")
    text = "look into a cache of joblib.Memory, and remove results from it"
    cache = tools.add_parser("cache", help=text, description=text)
    console.add_commands(cache)
    parsed = parser.parse_args(arguments)
    if parsed.tool is None:
        parser.print_help()
        return 0
    return console.run(parsed)


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        try:
            return main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; nor may the interpreter try to write at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(_run())
