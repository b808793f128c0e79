"""The arguments of `dump` and `load`: from their many forms to one, or to an error."""

from __future__ import annotations

import os
from typing import Any

from .._compress.registry import CODECS, codec_for_name

_LEVELS = range(10)
_DEFAULT_METHOD = "zlib"
_MMAP_MODES = ("r+", "r", "w+", "c")
_NAMES_OF_MODES = ("readonly", "copyonwrite", "readwrite", "write")


def _check_level(level: Any) -> None:
    try:
        allowed = level is None or level in _LEVELS
    except TypeError:
        allowed = False
    if not allowed:
        raise ValueError(
            f'Non valid compress level given: "{level}". '
            f"Possible values are {list(_LEVELS)}."
        )


def parse_compress(compress: Any, path: str | None) -> tuple[str, int | None] | None:
    """Tell how to compress a file.

    Parameters
    ----------
    compress : int, bool, None, str or tuple
        A level, a method, or both. Level 0 and False mean no compression.
    path : str or None
        The file's name, whose extension chooses the method where `compress` names
        none.

    Returns
    -------
    tuple of (method, level) or None
        None for no compression; a level of None is the method's own default.

    Raises
    ------
    ValueError
        If the method or the level is unknown.
    """
    method: Any = None
    level: Any
    if isinstance(compress, tuple):
        if len(compress) != 2:
            raise ValueError(
                "Compress argument tuple should contain exactly 2 elements: "
                f"(compress method, compress level), you passed {compress}"
            )
        method, level = compress
    elif isinstance(compress, str):
        method, level = compress, None
    elif compress is True:
        level = None
    else:
        level = compress
    _check_level(level)
    if method is not None and method not in CODECS:
        raise ValueError(
            f'Non valid compression method given: "{method}". '
            f"Possible values are {list(CODECS)}."
        )
    if method is not None:
        return None if level is not None and level == 0 else (method, level)
    by_name = codec_for_name(path) if path is not None else None
    if by_name is not None:
        # The name asks for compression even where the level says none.
        return by_name, level or None
    if level is not None and level == 0:
        return None
    return _DEFAULT_METHOD, level


def parse_byte_order(ensure_native: Any, mmap_mode: Any) -> bool:
    """Tell whether `load` is to bring arrays into this machine's byte order.

    Parameters
    ----------
    ensure_native : bool or "auto"
        "auto" does so unless they are mapped.
    mmap_mode : str or None
        None for arrays that are not mapped.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the mode is unknown, or rules native order out.
    """
    if mmap_mode is None:
        return bool(ensure_native)
    if mmap_mode not in _MMAP_MODES + _NAMES_OF_MODES:
        raise ValueError(
            f"mmap_mode should be None or one of {list(_MMAP_MODES)}, "
            f"got {mmap_mode!r}."
        )
    if ensure_native and ensure_native != "auto":
        raise ValueError(
            "Native byte ordering can only be enforced if 'mmap_mode' parameter "
            f"is set to None, but got 'mmap_mode={mmap_mode}' instead."
        )
    return False


def path_to_write(filename: Any) -> str | None:
    """Return the path that `dump` writes to; None for an open file.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(filename, (str, os.PathLike)):
        return os.fspath(filename)
    if hasattr(filename, "write"):
        return None
    raise ValueError(
        "Second argument should be a filename or a file-like object, "
        f"{filename} (type {type(filename)}) was given."
    )


def name_of_file(file: Any) -> str:
    """The path of an open file; empty if it has none."""
    name = getattr(file, "name", "")
    return name if isinstance(name, str) else ""  # or the number of a descriptor
