"""The commands of ``python -m joblib cache``, once their arguments are understood.

Each takes the arguments that `console` defines, prints, and returns its exit code.
"""

from __future__ import annotations

import datetime
import fnmatch
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from . import places, tables
from .entries import CacheEntry, list_entries
from .eviction import select_items_to_delete

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from .filesystem import FileSystemStoreBackend

LIMIT = 50  # rows of a table
_SHORTEST_ID = 4
SORTS: dict[str, Callable[[CacheEntry], Any]] = {
    "last-use": lambda entry: entry._last_use,
    "size": lambda entry: entry.bytes,
    "hits": lambda entry: entry.hits,
    "duration": lambda entry: entry.duration or 0.0,
    "created": lambda entry: entry._created,
}


class Refusal(Exception):
    """What was asked for is not done; exit code 2."""


def list_results(arguments: argparse.Namespace) -> int:
    """Print a table of results."""
    entries = _choose(places.open_cache(arguments.path), arguments.function)
    if arguments.sort == "function":
        entries.sort(key=lambda entry: entry.function, reverse=arguments.reverse)
    else:
        entries.sort(key=SORTS[arguments.sort], reverse=not arguments.reverse)
    limit = arguments.limit
    if limit is None and not arguments.json:
        limit = LIMIT
    shown = entries[:limit] if limit else entries
    if arguments.json:
        _print_json([_as_dict(entry) for entry in shown])
        return 0
    if not entries:
        print("no results")
        return 0
    titles = ["SIZE", "TIME", "HITS", "LAST USE", "ID"]
    now = time.time()
    rows = [
        [
            tables.format_size(entry.bytes),
            tables.format_seconds(entry.duration),
            str(entry.hits),
            tables.format_age(now - entry._last_use),
            entry.args_id[:8],
        ]
        for entry in shown
    ]
    lines = tables.make_table(titles, rows, left=["ID"])
    room = _terminal_width() - max(len(line) for line in lines) - 2
    width = len(max(lines, key=len))
    print(f"{lines[0].ljust(width)}  CALL")
    for line, entry in zip(lines[1:], shown, strict=True):
        arguments_shown = entry.format_call()[len(entry.function) :]
        call = tables.cut_call(entry.function, arguments_shown, max(20, room))
        print(f"{line.ljust(width)}  {call}")
    _print_sum(entries, len(shown))
    return 0


def show_results(arguments: argparse.Namespace) -> int:
    """Print all that is known of results."""
    which = arguments.which
    if which is None:
        place = places.find_entry(arguments.path)
        if place is None:
            return size_results(arguments)
        store = places.open_cache(place[0])
        entries = [e for e in list_entries(store) if e.path == store._path([place[1]])]
    else:
        store = places.open_cache(arguments.path)
        entries = _choose(store, which, or_id=True)
    if not entries:
        raise Refusal(f"no result and no function of this name: {which or place}")
    if arguments.json:
        _print_json([_as_dict(entry) for entry in entries])
        return 0
    for i, entry in enumerate(entries):
        if i:
            print()
        _print_entry(entry)
    return 0


def size_results(arguments: argparse.Namespace) -> int:
    """Print the sizes by function."""
    store = places.open_cache(arguments.path)
    entries = list_entries(store)
    by_function: dict[str, list[CacheEntry]] = {}
    for entry in entries:
        by_function.setdefault(entry.func_id, []).append(entry)
    sums = sorted(
        (
            (sum(entry.bytes for entry in group), group)
            for group in by_function.values()
        ),
        key=lambda pair: pair[0],
        reverse=True,
    )
    if arguments.json:
        functions = [
            {
                "function": group[0].function,
                "func_id": group[0].func_id,
                "entries": len(group),
                "bytes": size,
                "hits": sum(entry.hits or 0 for entry in group),
                "last_use": _iso(group[0].last_use),
            }
            for size, group in sums
        ]
        _print_json(
            {
                "location": store.location,
                "entries": len(entries),
                "bytes": sum(size for size, _ in sums),
                "functions": functions,
            }
        )
        return 0
    print(tables.make_printable(str(store.location)))
    if not entries:
        print("no results")
        return 0
    now = time.time()
    rows = [
        [
            tables.format_size(size),
            str(len(group)),
            str(sum(entry.hits or 0 for entry in group)),
            tables.format_age(now - group[0]._last_use),
        ]
        for size, group in sums
    ]
    lines = tables.make_table(["SIZE", "RESULTS", "HITS", "LAST USE"], rows, left=[])
    room = max(20, _terminal_width() - len(lines[0]) - 2)
    print(f"{lines[0]}  FUNCTION")
    for line, (_, group) in zip(lines[1:], sums, strict=True):
        print(f"{line}  {tables.cut_call(group[0].function, '', room)}")
    _print_sum(entries, len(entries))
    return 0


def prune_results(arguments: argparse.Namespace) -> int:
    """Remove the least recently used results."""
    limits = arguments.max_size, arguments.max_items, arguments.max_age
    if limits == (None, None, None):
        raise Refusal(
            "prune needs a limit: --max-size, --max-age or --max-items (see --help)"
        )
    store = places.open_cache(arguments.path)
    items = store.get_items()
    victims = select_items_to_delete(items, *limits, now=datetime.datetime.now())
    failures = []
    if not arguments.dry_run:
        failures = places.remove_entries(item.path for item in victims)
        store._sweep()
    sizes = len(victims), sum(item.size for item in victims)
    left = len(items) - sizes[0], sum(item.size for item in items) - sizes[1]
    return _report(arguments, [item.path for item in victims], sizes, left, failures)


def clear_results(arguments: argparse.Namespace) -> int:
    """Remove all results, or those of a function."""
    store = places.open_cache(arguments.path)
    root = str(store.location)
    entries = _choose(store, arguments.function)
    if arguments.function is not None and not entries:
        raise Refusal(f"no results of a function of this name: {arguments.function}")
    functions = sorted({entry.function for entry in entries})
    size = sum(entry.bytes for entry in entries)
    if not arguments.yes:
        question = (
            f"Remove {len(entries)} results, {tables.format_size(size)} bytes, of "
        )
        question += f"{len(functions)} functions from {root}?"
        if arguments.function is not None and len(functions) < 6:
            question += f" ({', '.join(functions)})"
        _confirm(tables.make_printable(question))
    paths = [entry.path for entry in entries]
    if arguments.function is None:
        failures = places.remove_everything(root)
    else:
        failures = places.remove_entries(paths)
        directories = {os.path.dirname(path) for path in paths}
        places.remove_functions(root, directories)
    left = list_entries(store)
    rest = len(left), sum(entry.bytes for entry in left)
    return _report(arguments, paths, (len(entries), size), rest, failures)


# ------------------------------------------------------------------------------- the parts
def _choose(
    store: FileSystemStoreBackend, name: str | None, or_id: bool = False
) -> list[CacheEntry]:
    """List the entries of a function, with `or_id` also that of an id."""
    entries = list_entries(store)
    if name is None:
        return entries
    chosen = [entry for entry in entries if _is_named(entry, name)]
    if not chosen and or_id and len(name) >= _SHORTEST_ID:
        chosen = [entry for entry in entries if entry.args_id.startswith(name)]
    return chosen


def _is_named(entry: CacheEntry, name: str) -> bool:
    function = entry.function
    return (
        function == name
        or entry.func_id == name
        or function.endswith(f".{name}")
        or fnmatch.fnmatchcase(function, name)
    )


def _confirm(question: str) -> None:
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise Refusal(f"{question} Nobody can be asked here: say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refusal("nothing was removed")


def _report(
    arguments: argparse.Namespace,
    paths: Sequence[str],
    gone: tuple[int, int],
    left: tuple[int, int],
    failures: Sequence[str],
) -> int:
    dry_run = getattr(arguments, "dry_run", False)
    for failure in failures:
        print(f"joblib cache: not removed: {failure}", file=sys.stderr)
    if arguments.json:
        _print_json(
            {
                "dry_run": dry_run,
                "removed_entries": gone[0],
                "removed_bytes": gone[1],
                "removed_paths": list(paths),
                "failures": list(failures),
                "entries": left[0],
                "bytes": left[1],
            }
        )
    else:
        print(
            f"{'would remove' if dry_run else 'removed'} {gone[0]} results, "
            f"{tables.format_size(gone[1])}; {left[0]} results, "
            f"{tables.format_size(left[1])} "
            f"{'would be' if dry_run else 'are'} left"
        )
    return 1 if failures else 0


def _print_entry(entry: CacheEntry) -> None:
    facts = [
        ("function", entry.function),
        ("id", entry.args_id),
        ("path", entry.path),
        ("size", f"{entry.bytes} bytes ({tables.format_size(entry.bytes)})"),
        ("time", tables.format_seconds(entry.duration)),
        ("created", f"{entry.created:%Y-%m-%d %H:%M:%S}" if entry.created else "-"),
        ("last use", f"{entry.last_use:%Y-%m-%d %H:%M:%S}"),
        ("hits", str(entry.hits)),
        ("arguments", "" if entry.arguments else "-"),
    ]
    for name, value in facts:
        print(f"{name:<9}  {tables.make_printable(value)}".rstrip())
    for name, value in entry.arguments.items():
        print(f"  {tables.make_printable(f'{name} = {value}')}")


def _print_sum(entries: Sequence[CacheEntry], n_shown: int) -> None:
    size = tables.format_size(sum(entry.bytes for entry in entries))
    more = len(entries) - n_shown
    hint = f"; {more} more: --limit 0 shows all" if more else ""
    print(f"{len(entries)} results, {size}{hint}")


def _as_dict(entry: CacheEntry) -> dict[str, Any]:
    return {
        "function": entry.function,
        "func_id": entry.func_id,
        "args_id": entry.args_id,
        "path": entry.path,
        "arguments": entry.arguments,
        "bytes": entry.bytes,
        "duration": entry.duration,
        "created": None if entry.created is None else _iso(entry.created),
        "last_use": _iso(entry.last_use),
        "hits": entry.hits,
    }


def _iso(moment: datetime.datetime) -> str:
    return moment.astimezone().isoformat(timespec="seconds")


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


def _terminal_width() -> int:
    return shutil.get_terminal_size((80, 24)).columns
