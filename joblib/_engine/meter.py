"""How far a call is, shown as a bar or told to a function: `progress=`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..logger import short_format_time

#: seconds between two changes of a line on a terminal, and between two lines elsewhere
TERMINAL_SECONDS = 0.1
LOG_SECONDS = 10.0
#: seconds for which the end of a call waits for a function that is being told
PATIENCE = 5.0

#: shows where a call is: tasks done, tasks in all or None, seconds
Show = Callable[[int, "int | None", float], Any]


def check_progress(value: Any) -> Any:
    """Return what `progress` was given; None for off.

    Raises
    ------
    TypeError
        Saying what is allowed.
    """
    if value is None or value is False:
        return None
    if value is True or isinstance(value, str) or callable(value):
        return value
    raise TypeError(
        "progress must be a bool, a label or a callable(done, total, seconds), got "
        f"{value!r} of type {type(value).__name__}."
    )


class Meter:
    """Shows how far a call is.

    Parameters
    ----------
    progress : True, str or callable
        As `check_progress` returned it.
    run : Run
        The call; its counters are read.
    total : int or None
        Its tasks in all, if that is known before its iterable has been read.
    """

    def __init__(self, progress: Any, run: Any, total: int | None) -> None:
        self._run = run
        self._given_total = total
        self._begin = monotonic()
        # Whoever gets it shows what the others have come to meanwhile; none waits.
        self._lock = threading.Lock()
        self._changed = False
        self._last: tuple[int, int | None] | None = None
        self._show: Show
        if callable(progress):
            self._show, self._close = progress, _nothing
        else:
            label = progress if isinstance(progress, str) else ""
            bar = _bar(label, total)
            self._show, self._close = bar.show, bar.close

    def advance(self) -> None:
        """Show where the call is now. On any thread; errors are the call's."""
        self._changed = True
        while self._changed and self._lock.acquire(False):
            try:
                self._changed = False
                self._tell()
            finally:
                self._lock.release()

    def _tell(self, is_last: bool = False) -> None:
        run = self._run
        done = run.n_completed_tasks
        total = run.n_dispatched_tasks if run.exhausted else self._given_total
        if is_last:
            total = done
        if self._last is None or done > self._last[0] or is_last:
            if self._last != (done, total):
                self._last = (done, total)
                self._show(done, total, monotonic() - self._begin)

    def end(self, well: bool) -> None:
        """Show the end of a call that ended well; take the bar away in any case."""
        # A function that does not return must not keep the call from ending.
        held = self._lock.acquire(timeout=PATIENCE)
        try:
            close, self._close = self._close, _nothing
            try:
                if well and held:
                    self._tell(is_last=True)
            finally:
                close()
        finally:
            if held:
                self._lock.release()


def _nothing() -> None:
    pass


# ------------------------------------------------------------------------ bars
def _bar(label: str, total: int | None) -> Any:
    stream = sys.stderr
    if stream is None:
        return _Line(label, None)
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Line(label, stream)

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # without the thread that looks after slow bars

    return _Tqdm(Bar(total=total, desc=label or None, unit="task", miniters=1))


class _Tqdm:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self.close = bar.close

    def show(self, done: int, total: int | None, seconds: float) -> None:
        bar = self._bar
        if total is not None and total != bar.total:
            bar.total = total
        bar.update(done - bar.n)


class _Line:
    """A line of text: on a terminal one that changes, elsewhere one now and then."""

    def __init__(self, label: str, stream: Any) -> None:
        self._label = label or "tasks"
        self._stream = stream
        self._is_terminal = stream is not None and _is_terminal(stream)
        self._pause = TERMINAL_SECONDS if self._is_terminal else LOG_SECONDS
        self._next = 0.0
        self._text = ""
        self._written = ""

    def show(self, done: int, total: int | None, seconds: float) -> None:
        of = "" if total is None else f"/{total}"
        self._text = f"{self._label}: {done}{of}, {short_format_time(seconds).strip()}"
        if seconds >= self._next:
            self._next = seconds + self._pause
            self._write()

    def _write(self) -> None:
        text, before = self._text, self._written
        if self._stream is None or text == before:
            return
        self._written = text
        line = f"\r{text.ljust(len(before))}" if self._is_terminal else f"{text}\n"
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):  # it has been closed
            self._stream = None

    def close(self) -> None:
        self._write()
        if self._is_terminal and self._written and self._stream is not None:
            try:
                self._stream.write("\n")
            except (OSError, ValueError):
                pass


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
