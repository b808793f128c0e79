"""The codecs: how each compression method opens a file for writing and for reading.

A codec names the bytes its files begin with (they tell the method of a file on
loading) and the file name extension that selects it on dumping. Codecs whose
library may be missing stay in the table and say so when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

from .zlibfile import BinaryGzipFile, BinaryZlibFile

ZFILE_PREFIX = b"ZF"  # files of releases before 0.10: zlib data with its length
ZLIB_PREFIX = b"\x78"
GZIP_PREFIX = b"\x1f\x8b"
BZ2_PREFIX = b"BZ"
XZ_PREFIX = b"\xfd\x37\x7a\x58\x5a"
LZMA_PREFIX = b"\x5d\x00"
LZ4_PREFIX = b"\x04\x22\x4d\x18"
ZSTD_PREFIX = b"\x28\xb5\x2f\xfd"

LZ4_NOT_INSTALLED_ERROR = (
    "LZ4 is not installed. Install it with pip: https://python-lz4.readthedocs.io/"
)
ZSTD_NOT_INSTALLED_ERROR = (
    "zstandard is not installed. Install it with: pip install zstandard"
)


class CompressorWrapper:
    """What `register_compressor` takes: a file class and how to recognise its files.

    Subclass it and override the two methods where the file class is not called as
    ``obj(fileobj, "wb", compresslevel=level)`` and ``obj(fileobj, "rb")``.

    Parameters
    ----------
    obj : callable
        The class of the compressed file; kept as ``fileobj_factory``.
    prefix : bytes, default b""
        The first bytes of each file of this method.
    extension : str, default ""
        The file name extension, dot included, that selects this method.
    """

    def __init__(self, obj: Any, prefix: bytes = b"", extension: str = "") -> None:
        self.fileobj_factory = obj
        self.prefix = prefix
        self.extension = extension

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Return a file that compresses what is written to it into `fileobj`."""
        level = {} if compresslevel is None else {"compresslevel": compresslevel}
        return self.fileobj_factory(fileobj, "wb", **level)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Return a file that reads the compressed `fileobj`."""
        return self.fileobj_factory(fileobj, "rb")


class ZlibCompressorWrapper(CompressorWrapper):
    """Bare zlib streams."""

    def __init__(self) -> None:
        super().__init__(BinaryZlibFile, prefix=ZLIB_PREFIX, extension=".z")


class GzipCompressorWrapper(CompressorWrapper):
    """Gzip files."""

    def __init__(self) -> None:
        super().__init__(BinaryGzipFile, prefix=GZIP_PREFIX, extension=".gz")


class _LibraryCodec(CompressorWrapper):
    """A codec of a module that may be missing; its file class is found on first use."""

    prefix = b""
    extension = ""
    library = ""
    file_class = ""
    missing = ""

    def __init__(self) -> None:
        # No super().__init__: it would set fileobj_factory, a lookup on this class.
        pass

    def _open(self) -> Any:
        try:
            return getattr(importlib.import_module(self.library), self.file_class)
        except ImportError as exc:
            raise ValueError(self.missing) from exc

    @property
    def fileobj_factory(self) -> Any:
        """The library's file class, or None where the library is missing."""
        try:
            return self._open()
        except ValueError:
            return None


class BZ2CompressorWrapper(_LibraryCodec):
    """Bzip2 files."""

    prefix = BZ2_PREFIX
    extension = ".bz2"
    library = "bz2"
    file_class = "BZ2File"
    missing = "The module bz2 is missing: this Python was built without it."

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Open a bzip2 file for writing; the level defaults to 9."""
        level = 9 if compresslevel is None else compresslevel
        return self._open()(fileobj, "wb", compresslevel=level)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Open a bzip2 file for reading."""
        return self._open()(fileobj, "rb")


class LZMACompressorWrapper(_LibraryCodec):
    """Files of the old ``.lzma`` format."""

    prefix = LZMA_PREFIX
    extension = ".lzma"
    library = "lzma"
    file_class = "LZMAFile"
    missing = "The module lzma is missing: this Python was built without it."
    _container = "FORMAT_ALONE"

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Open the file for writing; the level is lzma's preset, 0 to 9."""
        factory = self._open()
        container = getattr(importlib.import_module("lzma"), self._container)
        return factory(fileobj, "wb", format=container, preset=compresslevel)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Open the file for reading; lzma tells its two formats apart."""
        return self._open()(fileobj, "rb")


class XZCompressorWrapper(LZMACompressorWrapper):
    """Files of the ``.xz`` format."""

    prefix = XZ_PREFIX
    extension = ".xz"
    _container = "FORMAT_XZ"


class LZ4CompressorWrapper(_LibraryCodec):
    """LZ4 frames, of the package ``lz4``."""

    prefix = LZ4_PREFIX
    extension = ".lz4"
    library = "lz4.frame"
    file_class = "LZ4FrameFile"
    missing = LZ4_NOT_INSTALLED_ERROR

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Open a frame for writing; the level is lz4's own, 0 (fast) by default."""
        level = {} if compresslevel is None else {"compression_level": compresslevel}
        return self._open()(fileobj, "wb", **level)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Open a frame for reading."""
        return self._open()(fileobj, "rb")


class ZstdCompressorWrapper(_LibraryCodec):
    """Zstandard frames, of ``compression.zstd`` where Python has it or ``zstandard``."""

    prefix = ZSTD_PREFIX
    extension = ".zst"
    library = "joblib._compress.zstdfile"
    file_class = "ZstdFile"
    missing = ZSTD_NOT_INSTALLED_ERROR

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Open a frame for writing; the level defaults to 3."""
        level = 3 if compresslevel is None else compresslevel
        return self._open()(fileobj, "wb", compresslevel=level)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Open a frame for reading."""
        return self._open()(fileobj, "rb")


def is_file_class(obj: Any) -> bool:
    """Whether `obj` makes objects with a binary file's methods."""
    return all(hasattr(obj, name) for name in ("read", "write", "seek", "tell"))
