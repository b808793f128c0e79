"""Help where the standard library and numpy behave differently between systems."""

from __future__ import annotations

import os
import time
from typing import Any

# Windows refuses to replace a file that another process has open at that instant.
_RENAME_ATTEMPTS = 12
_FIRST_WAIT = 0.001  # seconds, doubled after each attempt: four seconds in all


def make_memmap(
    filename: Any,
    dtype: Any = "uint8",
    mode: Any = "r+",
    offset: int = 0,
    shape: Any = None,
    order: Any = "C",
    unlink_on_gc_collect: bool = False,
) -> Any:
    """Map a file as an array.

    Parameters
    ----------
    filename, dtype, mode, offset, shape, order
        As for `numpy.memmap`; `offset` is in bytes and may be anything.
    unlink_on_gc_collect : bool, default False
        Give the file back to the tracker of temporary files when the array is
        collected, for files made to carry arrays to other processes.

    Returns
    -------
    numpy.memmap
    """
    import numpy as np

    array = np.memmap(filename, dtype, mode, offset, shape, order)
    if unlink_on_gc_collect:
        # Only arrays that travel between processes ask for this: their reducers are
        # loaded then, and `import joblib.backports` stays free of them.
        from ._memmapping_reducer import add_maybe_unlink_finalizer

        add_maybe_unlink_finalizer(array)
    return array


def concurrency_safe_rename(src: Any, dst: Any) -> None:
    """Rename `src` to `dst`, replacing it, also while others do the same.

    Parameters
    ----------
    src, dst : str
        Paths on one file system.

    Raises
    ------
    PermissionError
        On Windows, if `dst` stayed open elsewhere for some seconds.
    """
    if os.name != "nt":
        os.replace(src, dst)
        return
    wait = _FIRST_WAIT
    for attempt in range(_RENAME_ATTEMPTS):
        try:
            os.replace(src, dst)
            return
        except PermissionError:
            if attempt == _RENAME_ATTEMPTS - 1:
                raise
            time.sleep(wait)
            wait *= 2
