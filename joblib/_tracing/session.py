"""`trace`: records what the calls of `Parallel` in a ``with`` block do."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .._engine.context import TRACES, _backend, current
from .._engine.recording import Place, clock, close_sink, open_sink
from .._persist.atomic import replacing
from .assembly import assemble
from .summary import summary_of
from .timeline import Timeline


def _html(timeline: Timeline) -> bytes:
    from .page import page_of

    return page_of(timeline, summary_of(timeline)).encode()


def _svg(timeline: Timeline) -> bytes:
    from .svg import svg_of

    return svg_of(timeline, summary_of(timeline)).encode()


def _png(timeline: Timeline) -> bytes:
    import io

    from .png import write_png

    file = io.BytesIO()
    write_png(timeline, summary_of(timeline), file)
    return file.getvalue()


def _json(timeline: Timeline) -> bytes:
    from .exchange_formats import chrome_of

    return chrome_of(timeline).encode()


def _csv(timeline: Timeline) -> bytes:
    from .exchange_formats import csv_of

    return csv_of(timeline).encode()


#: what is written, by the file's extension
_FORMATS: dict[str, Callable[[Timeline], bytes]] = {
    ".html": _html,
    ".svg": _svg,
    ".png": _png,
    ".json": _json,
    ".csv": _csv,
}


def _checked(path: Any) -> str:
    """Return the path to write to, if that is possible as far as can be told now."""
    name = os.path.abspath(os.fsdecode(os.fspath(path)))
    extension = os.path.splitext(name)[1].lower()
    if extension not in _FORMATS:
        raise ValueError(
            f"A trace is written in the format that its file's extension says, one of "
            f"{', '.join(_FORMATS)}; got: {os.fspath(path)!r}."
        )
    if not os.path.isdir(os.path.dirname(name)):
        raise FileNotFoundError(
            f"There is no directory {os.path.dirname(name)!r} to write "
            f"{os.path.basename(name)!r} to."
        )
    if extension == ".png":
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "Writing a trace as .png needs matplotlib (pip install matplotlib); "
                ".svg and .html need nothing."
            ) from error
    return name


class trace:  # noqa: N801 - used as a function
    """Record every task of every call of `Parallel` in a ``with`` block.

    Those of calls within tasks are recorded as well, on whatever backend and machine
    they run: function, worker (host, process, thread), start and end, the sizes of
    arguments and result, and the error. Calls that other threads make, and tasks that
    are still running when the block ends, are not.

    Parameters
    ----------
    path : str or path-like, optional
        Where to write the timeline when the block ends, also if by an error. The
        extension says how: ``.html`` (a page to zoom and point at, with nothing but
        itself), ``.svg``, ``.png`` (needs matplotlib), ``.json`` (Chrome's trace format,
        for https://ui.perfetto.dev) or ``.csv`` (a row for each task).

    Attributes
    ----------
    timeline : Timeline
        What was recorded: `tasks`, `calls` and `lanes`. Times are in seconds since the
        block began, by the caller's clock; those of other machines are brought to it.

    Raises
    ------
    ValueError
        For an extension that is none of these.
    FileNotFoundError
        If the directory does not exist.
    ImportError
        For ``.png`` without matplotlib.

    Notes
    -----
    A task costs one to two microseconds more while it is recorded. Sizes are estimates
    from the objects themselves: an array's bytes, the first elements of a list; a
    memory-mapped array counts nothing.

    Examples
    --------
    >>> from joblib import Parallel, delayed, trace
    >>> with trace() as t:
    ...     Parallel(n_jobs=2, prefer="threads")(delayed(abs)(-i) for i in range(10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> len(t.timeline.tasks), t.timeline.tasks[0].name
    (10, 'abs')
    """

    def __init__(self, path: Any = None) -> None:
        self._path = None if path is None else _checked(path)
        self._name: str | None = None
        self._records: list[Any] = []
        self._timeline: Timeline | None = None
        self._place: Place | None = None
        self._start = 0.0

    def __enter__(self) -> trace:
        if self._name is not None:
            raise RuntimeError("This trace is being recorded already; make another.")
        self._name = uuid.uuid4().hex
        self._timeline = None
        self._records = open_sink(self._name)
        self._place = Place.here()
        self._before = current()
        around = self._before.get(TRACES, ())
        _backend.config = {**self._before, TRACES: (*around, self._name)}
        self._start = clock()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timeline = self._assembled()
        name, self._name = self._name, None
        _backend.config = self._before
        if name is not None:
            close_sink(name)
        self._records = []
        if self._path is None:
            return
        try:
            self.save(self._path)
        except Exception as error:
            if exc is None:
                raise
            # what went wrong in the block is what the user has to see
            warnings.warn(
                f"The trace could not be written to {self._path!r}: {error!r}",
                UserWarning,
                stacklevel=2,
            )

    def _assembled(self) -> Timeline:
        if self._place is None:
            raise RuntimeError("Nothing has been recorded: use it in a `with` block.")
        return assemble(list(self._records), self._place, self._start, clock())

    @property
    def timeline(self) -> Timeline:
        """What has been recorded: so far, while the block has not ended."""
        return self._timeline if self._timeline is not None else self._assembled()

    def summary(self) -> None:
        """Print how busy the workers were, what it cost, and what to do about it.

        Examples
        --------
        >>> from joblib import Parallel, delayed, trace
        >>> with trace() as t:
        ...     _ = Parallel(n_jobs=2, prefer="threads")(delayed(abs)(i) for i in (1, 2))
        >>> t.summary()  # doctest: +ELLIPSIS
        2 tasks of 1 call in ... (ThreadingBackend, n_jobs=2)
        At work: ...
        """
        print(summary_of(self.timeline))

    def save(self, path: Any) -> None:
        """Write what has been recorded to a file, in the format its extension says.

        Parameters
        ----------
        path : str or path-like
            As for the class. A file that is there is replaced once the new one is
            complete.
        """
        name = _checked(path)
        data = _FORMATS[os.path.splitext(name)[1].lower()](self.timeline)
        with replacing(name) as file:
            file.write(data)
