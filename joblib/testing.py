"""Helpers for tests: pytest's under short names, subprocesses, contracts, attacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

from ._testing.backend_contract import backend_checks, check_backend
from ._testing.hostile import HostilePickle, hostile_pickles
from ._testing.trust_check import check_trusted

if TYPE_CHECKING:
    import pytest

    SkipTest = pytest.skip.Exception
    fixture = pytest.fixture
    param = pytest.param
    parametrize = pytest.mark.parametrize
    raises = pytest.raises
    skipif = pytest.mark.skipif
    timeout = pytest.mark.timeout
    warns = pytest.warns
    xfail = pytest.mark.xfail

__all__ = [
    "HostilePickle",
    "SkipTest",
    "backend_checks",
    "check_backend",
    "check_subprocess_call",
    "check_trusted",
    "fixture",
    "hostile_pickles",
    "param",
    "parametrize",
    "raises",
    "skipif",
    "timeout",
    "warnings_to_stdout",
    "warns",
    "xfail",
]

_MARKS = {"parametrize", "skipif", "timeout", "xfail"}
_NAMES = {"fixture", "param", "raises", "warns"}


def __getattr__(name: str) -> Any:
    # pytest is needed by those names that are pytest's, and by nothing else here
    if name in _MARKS:
        import pytest

        return getattr(pytest.mark, name)
    if name in _NAMES:
        import pytest

        return getattr(pytest, name)
    if name == "SkipTest":
        import pytest

        return pytest.skip.Exception
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def warnings_to_stdout() -> None:
    """Show each warning on stdout from now on, so that a test can read it there."""

    def show(
        message: Any,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        sys.stdout.write(
            warnings.formatwarning(message, category, filename, lineno, line)
        )

    warnings.showwarning = show


def check_subprocess_call(
    cmd: list[str],
    timeout: float = 5,
    stdout_regex: str | None = None,
    stderr_regex: str | None = None,
) -> None:
    """Run a command; raise if it fails or prints something unexpected.

    Parameters
    ----------
    cmd : list of str
        The program and its arguments.
    timeout : float, default=5
        Seconds after which the command is killed.
    stdout_regex, stderr_regex : str, optional
        Patterns that must be found in what it prints.

    Raises
    ------
    ValueError
        If the command ends with an error or is killed, or a pattern is not
        found; the message holds what it printed.
    OSError
        If the command can't be started.
    """
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        raw_out, raw_err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raw_out, raw_err = process.communicate()
    out, err = raw_out.decode(errors="replace"), raw_err.decode(errors="replace")
    if process.returncode != 0:
        raise ValueError(
            f"Non-zero return code: {process.returncode}.\n"
            f"Command: {cmd}\nStdout:\n{out}\nStderr:\n{err}"
        )
    for stream, text, pattern in (
        ("stdout", out, stdout_regex),
        ("stderr", err, stderr_regex),
    ):
        if pattern is not None and not re.search(pattern, text):
            raise ValueError(
                f"Unexpected {stream}: {pattern!r} does not match {text!r}"
            )
