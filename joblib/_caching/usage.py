"""When each result was last used, and how often: noted in memory, written now and then.

The time that a file system keeps is wrong on most mounts (``relatime``, ``noatime``).
A load is therefore noted here, which costs a fraction of a microsecond, and written
with others, at most once a second:

- the time into the access time of ``output.pkl``, where every version looks for it;
- the number of loads into a journal, ``.usage/hits``: lines of a number, a time where
  the file would not take it (else 0) and the location of the entry.

All of it is best effort. A process that is killed loses what it did in the last second,
a cache that can only be read keeps no notes, and neither says so.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import TYPE_CHECKING

from .turns import turn
from .writing import unique_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable

# Directory in the root of a store for what is known of all its entries.
USAGE_DIRECTORY = ".usage"

_JOURNAL = "hits"
_TURN = "turn-hits"
_INTERVAL = 1.0  # seconds between two writes
_TICK = 0.02  # seconds
_MOST_NOTES = 2_000  # entries, in memory
_LARGE_JOURNAL = 4 * 1024**2  # bytes
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)

# File -> number of loads, time of the last use (seconds since the epoch), store.
_notes: dict[str, tuple[int, float, str]] = {}
_written = _due = _last_load = 0.0
_writing = threading.Lock()


class Uses:
    """What the journal of a store says of one entry.

    Attributes
    ----------
    hits : int
        Number of loads.
    last : float
        Time of the last one, in seconds since the epoch, where the file does not show
        it; else 0.
    """

    __slots__ = ("hits", "last")

    def __init__(self) -> None:
        self.hits = 0
        self.last = 0.0


def note_use(location: str, filename: str) -> None:
    """Note that a result was just loaded.

    Parameters
    ----------
    location : str
        Root of the store.
    filename : str
        The file with the result.
    """
    global _last_load
    _last_load = now = time.time()
    known = _notes.get(filename)
    # Two threads may lose a count here: a lock would cost as much as all the rest.
    _notes[filename] = (1 if known is None else known[0] + 1), now, location
    if now >= _due or now < _written or len(_notes) > _MOST_NOTES:
        write_notes(wait=False)


def note_write(location: str, filename: str) -> None:
    """Note that a result was just written, where the file system may not tell.

    The clock of a file system is some milliseconds late: what was written just after
    a load would seem to have been used before it.

    Parameters
    ----------
    location : str
        Root of the store.
    filename : str
        The file with the result.
    """
    now = time.time()
    if now - _last_load < _TICK and len(_notes) < _MOST_NOTES:
        known = _notes.get(filename)
        _notes[filename] = (0 if known is None else known[0]), now, location


def write_notes(wait: bool = True) -> None:
    """Write what was noted, so that others see it.

    Parameters
    ----------
    wait : bool, default=True
        Whether to wait for a thread that is at it.
    """
    global _notes, _written, _due
    if not _notes and wait:
        return
    if not _writing.acquire(timeout=_INTERVAL * 5 if wait else 0):
        return
    try:
        notes, _notes = _notes, {}
        lines: dict[str, list[str]] = {}
        _written = time.time()
        _due = _written + _INTERVAL
        for filename, (hits, last, location) in list(notes.items()):
            shown = _show(filename, last)
            entry = os.path.dirname(filename)[len(location) + 1 :]
            if shown is None or (shown and not hits) or "\n" in entry:
                continue
            line = f"{hits} {0 if shown else last} {entry}\n"
            lines.setdefault(location, []).append(line)
        for location, of_location in lines.items():
            _append(location, of_location)
    finally:
        _writing.release()


def _show(filename: str, last: float) -> bool | None:
    """Make a file show when it was used; None if it is gone, False if it refuses."""
    try:
        stat = os.stat(filename)
    except OSError:
        return None
    if stat.st_ctime > last or stat.st_atime >= last:
        return True  # written, used or given another time since
    if stat.st_ctime > last - _TICK and stat.st_atime < stat.st_ctime - 60:
        return True  # given an old time, which the clock of files says was just before
    try:
        os.utime(filename, ns=(int(last * 1e9), stat.st_mtime_ns))
    except OSError as error:
        return None if isinstance(error, FileNotFoundError) else False
    return True


def journal_path(location: str) -> str:
    """Return the path of the journal of a store."""
    return os.path.join(location, USAGE_DIRECTORY, _JOURNAL)


def make_directory(location: str) -> bool:
    """Make the directory for notes, if the store is there; tell whether it is."""
    try:
        os.mkdir(os.path.join(location, USAGE_DIRECTORY))
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _append(location: str, lines: list[str]) -> None:
    content = os.fsencode("".join(lines))
    path = journal_path(location)
    try:
        try:
            descriptor = os.open(path, _APPEND | os.O_CREAT, 0o666)
        except FileNotFoundError:
            if not make_directory(location):
                return
            descriptor = os.open(path, _APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, content)  # at once: lines of others stay whole
            size = os.lseek(descriptor, 0, os.SEEK_END)
        finally:
            os.close(descriptor)
    except OSError:
        return
    if size > _LARGE_JOURNAL:
        _shorten_if_worthwhile(location, size)


def read_uses(location: str) -> dict[str, Uses]:
    """Read the journal of a store.

    Parameters
    ----------
    location : str
        Root of the store.

    Returns
    -------
    dict
        Location of an entry below the root -> `Uses`.
    """
    found: dict[str, Uses] = {}
    n_lines = 0
    try:
        with open(journal_path(location), "rb") as journal:
            n_lines = _add_lines(journal, found)
    except OSError:
        pass
    if n_lines > 1000 + 4 * len(found):
        _shorten(location)
    return found


def _add_lines(lines: Iterable[bytes], found: dict[str, Uses]) -> int:
    n_lines = 0
    for line in lines:
        n_lines += 1
        try:
            hits, last, entry = os.fsdecode(line).rstrip("\n").split(" ", 2)
            n_hits, when = int(hits), float(last)
        except ValueError:
            continue  # a header, or what a full disk made of a line
        uses = found.get(entry)
        if uses is None:
            uses = found[entry] = Uses()
        uses.hits += n_hits
        uses.last = max(uses.last, when)
    return n_lines


def _shorten_if_worthwhile(location: str, size: int) -> None:
    """Shorten a journal that is four times as long as it was when that was last done."""
    try:
        with open(journal_path(location), "rb") as journal:
            header = journal.readline(100).split()
        shortest = int(header[1]) if header[:1] == [b"shortened"] else 0
    except (OSError, ValueError, IndexError):
        shortest = 0
    if size > 4 * shortest:
        _shorten(location)


def _shorten(location: str) -> None:
    """Write one line for each entry that is still there, instead of many."""
    path = journal_path(location)
    shorter = f"{path}.{unique_suffix()}"
    with turn(os.path.join(location, USAGE_DIRECTORY, _TURN)) as mine:
        if not mine:
            return
        found: dict[str, Uses] = {}
        try:
            with open(path, "rb") as journal:
                _add_lines(journal, found)
                text = "".join(
                    f"{uses.hits} {uses.last or 0} {entry}\n"
                    for entry, uses in found.items()
                    if os.path.isdir(os.path.join(location, entry))
                )
                content = os.fsencode(text)
                with open(shorter, "wb") as stream:
                    stream.write(b"shortened %d\n" % len(content) + content)
                    # What others wrote meanwhile; what they write between this line
                    # and the next is lost.
                    stream.write(journal.read())
            os.replace(shorter, path)
        except OSError:
            try:
                os.unlink(shorter)
            except OSError:
                pass


def _forget() -> None:
    """In a forked process: what was noted is the parent's to write."""
    global _writing, _due
    _notes.clear()
    _writing = threading.Lock()
    _due = 0.0


atexit.register(write_notes)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
