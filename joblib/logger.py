"""Messages, durations and compact representations of objects, as text."""

from __future__ import annotations

import os
import sys
import time

from .disk import mkdirp

# `logging`, `pprint` and `shutil` are imported where they are used: every import of
# joblib imports this module, few ever print.

_ROTATED_LOGS = 9  # log files of earlier runs that PrintTime keeps beside the present


def _squeeze_time(t: float) -> float:
    """Clip a duration that a coarse clock made negative (Windows)."""
    return max(0, t) if sys.platform.startswith("win") else t


def format_time(t: float) -> str:
    """Write a duration in seconds and in minutes.

    Parameters
    ----------
    t : float
        Seconds.

    Returns
    -------
    str
        For instance ``"65.2s, 1.1min"``.
    """
    t = _squeeze_time(t)
    return f"{t:.1f}s, {t / 60:.1f}min"


def short_format_time(t: float) -> str:
    """Write a duration in minutes above one minute, in seconds up to it.

    Parameters
    ----------
    t : float
        Seconds.

    Returns
    -------
    str
        At least seven characters wide, for instance ``" 1.1min"`` or ``"   3.0s"``.
    """
    t = _squeeze_time(t)
    return f"{t / 60:4.1f}min" if t > 60 else f" {t:5.1f}s"


def pformat(obj: object, indent: int = 0, depth: int = 3) -> str:
    """Represent an object over few lines: nesting cut, arrays abridged.

    Parameters
    ----------
    obj : object
        Anything.
    indent : int, default=0
        Spaces per level of nesting.
    depth : int, default=3
        Levels shown; deeper ones become ``...``.

    Returns
    -------
    str
    """
    import pprint

    # Without numpy imported there is no array to abridge.
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "printoptions"):
        return pprint.pformat(obj, indent=indent, depth=depth)
    with numpy.printoptions(precision=6, threshold=64, edgeitems=1):
        return pprint.pformat(obj, indent=indent, depth=depth)


class Logger:
    """Base class of objects that report through the `logging` module.

    Parameters
    ----------
    depth : int, default=3
        Levels of nesting that `format` shows.
    name : str, optional
        Name of the logger written to; ``"joblib"`` when left out.
    """

    def __init__(self, depth: int = 3, name: str | None = None) -> None:
        self.depth = depth
        self._name = "joblib" if name is None else name

    def debug(self, msg: object) -> None:
        """Report at level DEBUG."""
        _report(self, "DEBUG", msg)

    def info(self, msg: object) -> None:
        """Report at level INFO."""
        _report(self, "INFO", msg)

    def warn(self, msg: object) -> None:
        """Report at level WARNING."""
        _report(self, "WARNING", msg)

    def format(self, obj: object, indent: int = 0) -> str:
        """Represent an object, as `pformat` does, to this logger's depth."""
        return pformat(obj, indent=indent, depth=self.depth)


def _report(logger: Logger, level: str, msg: object) -> None:
    # No method: classes of other projects derive from Logger, and keep their names.
    import logging

    logging.getLogger(logger._name).log(
        getattr(logging, level), "[%s]: %s", logger, msg
    )


class PrintTime:
    """Print messages to stderr with the time since the last one.

    Parameters
    ----------
    logfile : str, optional
        A file that gets the messages too. What it held before is kept beside it with
        the suffix ``.1``, the run before that with ``.2``, and so on up to ``.9``.
    logdir : str, optional
        A directory: the log file is ``joblib.log`` in it.

    Raises
    ------
    ValueError
        When both are given.
    """

    def __init__(self, logfile: str | None = None, logdir: str | None = None) -> None:
        if logdir is not None:
            if logfile is not None:
                raise ValueError(
                    "Cannot specify both logfile and logdir: give the log file, or the "
                    "directory in which it is to be named joblib.log."
                )
            logfile = os.path.join(logdir, "joblib.log")
        self.logfile = logfile
        self.start_time = self.last_time = time.time()
        if logfile is not None:
            _start_log(os.path.abspath(logfile), self.start_time)

    def __call__(self, msg: object = "", total: bool = False) -> None:
        """Print a message with the time that passed.

        Parameters
        ----------
        msg : str
            The message.
        total : bool, default=False
            Tell the time since this object was made instead of that since the last
            message.
        """
        now = time.time()
        if total:
            lapse = now - self.start_time
            text = f"{msg}: {lapse:.2f}s, {lapse / 60:.1f} min"
        else:
            text = f"{msg}: {format_time(now - self.last_time)}"
        print(text, file=sys.stderr)
        if self.logfile is not None:
            try:
                with open(self.logfile, "a") as log:
                    log.write(f"{text}\n")
            except OSError as error:
                # The run that is being timed matters more than its log.
                print(
                    f"Cannot write to the log file {self.logfile}: {error}",
                    file=sys.stderr,
                )
        self.last_time = now


def _start_log(logfile: str, start_time: float) -> None:
    mkdirp(os.path.dirname(logfile))
    _rotate(logfile)
    header = f"\nLogging joblib python script\n\n---{time.ctime(start_time)}---\n"
    with open(logfile, "w") as log:
        log.write(header)


def _rotate(logfile: str) -> None:
    """Rename the log of the last run to ``.1``, that one to ``.2``, and so on."""
    if not os.path.exists(logfile):
        return
    for number in range(_ROTATED_LOGS - 1, 0, -1):
        older = f"{logfile}.{number}"
        if os.path.exists(older):
            os.replace(older, f"{logfile}.{number + 1}")
    os.replace(logfile, f"{logfile}.1")
