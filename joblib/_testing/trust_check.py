"""Check that an allow-list lets no hostile pickle run anything."""

from __future__ import annotations

import copyreg
import importlib
import io
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from .hostile import (
    EXTENSION,
    MODULE,
    HostilePickle,
    harmless_run,
    hostile_pickles,
    pickle_of,
)


@contextmanager
def prepared(attack: HostilePickle) -> Iterator[Path]:
    """A file with the attack, and all that it would need to work."""
    folder = attack.trace.parent
    (folder / f"{MODULE}.py").write_text(
        f"open({str(attack.trace)!r}, 'w').close()\n", encoding="utf-8"
    )
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (folder / "objects.npy").write_bytes(
        head + pickle_of(harmless_run(str(attack.trace)))
    )
    path = folder / "hostile.joblib"
    path.write_bytes(attack.content)
    extensions: dict[Any, Any] = vars(copyreg)["_extension_registry"]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    registered = ("os", "mkdir") not in extensions
    if registered:
        copyreg.add_extension("os", "mkdir", EXTENSION)
    try:
        yield path
    finally:
        if registered:
            copyreg.remove_extension("os", "mkdir", EXTENSION)
        sys.path.remove(str(folder))
        sys.modules.pop(MODULE, None)


def check_trusted(
    trusted: Any, load: Callable[..., Any] | None = None
) -> dict[str, Exception]:
    """Check that no hostile file runs anything under an allow-list.

    Parameters
    ----------
    trusted : str, type, function or iterable of these
        As for `joblib.load`.
    load : callable, optional
        What loads: takes a path or a file object, and ``trusted=``; `joblib.load` by
        default.

    Returns
    -------
    dict of str to Exception
        How each of the files was refused, by what it tries.

    Raises
    ------
    AssertionError
        If any of them ran, or was loaded as if nothing were wrong. It names them.
    """
    if load is None:
        from .. import numpy_pickle

        load = cast(Callable[..., Any], numpy_pickle.load)
    ran: list[str] = []
    loaded: list[str] = []
    refused: dict[str, Exception] = {}
    with tempfile.TemporaryDirectory() as folder:
        for attack in hostile_pickles(folder):
            with prepared(attack) as path:
                for source in (path, io.BytesIO(attack.content)):
                    try:
                        load(source, trusted=trusted)
                    except Exception as error:
                        refused.setdefault(attack.name, error)
                    else:
                        loaded.append(attack.name)
                    if attack.trace.exists():
                        ran.append(attack.name)
    if ran or loaded:
        raise AssertionError(
            f"with trusted={trusted!r}, hostile files ran: {sorted(set(ran))}; were "
            f"loaded: {sorted(set(loaded) - set(ran))}"
        )
    return refused
