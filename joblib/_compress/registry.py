"""The table of codecs by name: registering them, and telling a file's method."""

from __future__ import annotations

import io
from typing import Any

from .codecs import (
    ZFILE_PREFIX,
    BZ2CompressorWrapper,
    CompressorWrapper,
    GzipCompressorWrapper,
    LZ4CompressorWrapper,
    LZMACompressorWrapper,
    XZCompressorWrapper,
    ZlibCompressorWrapper,
    ZstdCompressorWrapper,
    is_file_class,
)

NOT_COMPRESSED = "not-compressed"
# Compressed files of releases before 0.10, which have a loader of their own.
COMPAT = "compat"

CODECS: dict[str, Any] = {
    "zlib": ZlibCompressorWrapper(),
    "gzip": GzipCompressorWrapper(),
    "bz2": BZ2CompressorWrapper(),
    "lzma": LZMACompressorWrapper(),
    "xz": XZCompressorWrapper(),
    "lz4": LZ4CompressorWrapper(),
    "zstd": ZstdCompressorWrapper(),
}


def register_compressor(
    compressor_name: str, compressor: CompressorWrapper, force: bool = False
) -> None:
    """Make a compression method known to `dump` and `load`.

    Parameters
    ----------
    compressor_name : str
        The name to pass as ``compress``.
    compressor : CompressorWrapper
        How files of this method are opened and recognised. Its ``fileobj_factory``
        must make binary files (``read``, ``write``, ``seek`` and ``tell``).
    force : bool, default False
        Replace a method of that name.

    Raises
    ------
    ValueError
        If the name is no string, the file class lacks a method, or the name is
        taken and `force` is false.

    Examples
    --------
    >>> import gzip
    >>> from joblib.compressor import CompressorWrapper, register_compressor
    >>> register_compressor("stdgzip", CompressorWrapper(gzip.GzipFile, b"\\x1f\\x8b"))
    """
    if not isinstance(compressor_name, str):
        raise ValueError(
            f"Compressor name should be a string, '{compressor_name}' given."
        )
    if not isinstance(compressor, CompressorWrapper):
        raise ValueError(
            "Compressor should implement the CompressorWrapper interface, "
            f"'{compressor}' given."
        )
    if compressor.fileobj_factory is not None and not is_file_class(
        compressor.fileobj_factory
    ):
        raise ValueError(
            "Compressor 'fileobj_factory' attribute should implement "
            f"the file object interface, '{compressor.fileobj_factory}' given."
        )
    if compressor_name in CODECS and not force:
        raise ValueError(
            f"Compressor '{compressor_name}' already registered. "
            "Pass force=True to replace it."
        )
    CODECS[compressor_name] = compressor


def codec_for_name(filename: str) -> str | None:
    """Return the method whose extension `filename` ends in, or None."""
    for name, codec in CODECS.items():
        if codec.extension and filename.endswith(codec.extension):
            return name
    return None


def _first_bytes(fileobj: Any, size: int) -> bytes:
    if hasattr(fileobj, "peek"):
        return bytes(fileobj.peek(size))
    try:
        start = fileobj.tell()
    except (AttributeError, io.UnsupportedOperation):
        return b""  # neither peek nor tell: taken for uncompressed
    found = bytes(fileobj.read(size))
    if not found and start:
        # Just written and not rewound, as files in memory often are.
        start = fileobj.seek(0)
        found = bytes(fileobj.read(size))
    fileobj.seek(start)
    return found


def detect_method(fileobj: Any) -> str:
    """Tell the compression method from a file's first bytes, leaving it where it was.

    A file without ``peek`` that is at its end is rewound to its beginning.

    Returns a name of `CODECS`, ``"compat"`` or ``"not-compressed"``.
    """
    prefixes = [(COMPAT, ZFILE_PREFIX)]
    prefixes += [(name, codec.prefix) for name, codec in CODECS.items() if codec.prefix]
    head = _first_bytes(fileobj, max(len(prefix) for _, prefix in prefixes))
    for name, prefix in prefixes:
        # A third party's prefix may be of any type: those of str match nothing.
        if isinstance(prefix, bytes) and head.startswith(prefix):
            return name
    return NOT_COMPRESSED
