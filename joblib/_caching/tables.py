"""Tables for a terminal: sizes, times and names in columns that keep to its width."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = "  "
_CUT = "..."


def format_size(size: float) -> str:
    """Write a number of bytes in at most six characters: ``"312"``, ``"1.2M"``."""
    if size < 1000:
        return f"{size:.0f}"
    for unit in "KMGT":
        size /= 1024
        if size < 9.95:
            return f"{size:.1f}{unit}"
        if size < 999.5:
            return f"{size:.0f}{unit}"
    return f"{size / 1024:.1f}P"


def format_seconds(seconds: float | None) -> str:
    """Write a duration in at most six characters: ``"0.3s"``, ``"2h05m"``."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days < 100 else f"{days}d"


def format_age(seconds: float) -> str:
    """Write how long ago something was: ``"now"``, ``"5m ago"``, ``"40d ago"``."""
    if seconds < 1:
        return "now"
    for limit, length, unit in ((100, 1, "s"), (100, 60, "m"), (48, 3600, "h")):
        if seconds < limit * length:
            return f"{seconds // length:.0f}{unit} ago"
    return f"{seconds // 86400:.0f}d ago"


def width_of(text: str) -> int:
    """Tell how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def make_printable(text: str) -> str:
    """Replace what would move the cursor or change the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def cut_end(text: str, width: int) -> str:
    """Shorten a text to a width by its end."""
    if width_of(text) <= width:
        return text
    room = max(0, width - len(_CUT))
    kept = ""
    for character in text:
        room -= _width_of_character(character)
        if room < 0:
            break
        kept += character
    return kept + _CUT[:width]


def cut_start(text: str, width: int) -> str:
    """Shorten a text to a width by its start: of a name, the end says more."""
    if width_of(text) <= width:
        return text
    turned = cut_end(text[::-1], width)
    return turned[::-1]


def cut_call(function: str, arguments: str, width: int) -> str:
    """Shorten a call to a width, so that something of all its parts is seen."""
    function, arguments = make_printable(function), make_printable(arguments)
    for_arguments = min(width_of(arguments), width // 3)
    function = cut_start(function, width - for_arguments)
    return function + cut_end(arguments, width - width_of(function))


def make_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]
) -> list[str]:
    """Lay out a table.

    Parameters
    ----------
    titles : sequence of str
    rows : sequence of sequences of str
    left : sequence of str
        The titles of the columns that begin at the left; numbers end at the right.

    Returns
    -------
    list of str
        Its lines.
    """
    table = [titles, *rows]
    widths = [max(width_of(row[i]) for row in table) for i in range(len(titles))]
    lines = []
    for row in table:
        cells = []
        for title, cell, width in zip(titles, row, widths, strict=True):
            space = " " * (width - width_of(cell))
            cells.append(cell + space if title in left else space + cell)
        lines.append(_GAP.join(cells).rstrip())
    return lines
