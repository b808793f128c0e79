"""Compression methods and their registration; the parts live in ``joblib._compress``."""

from ._compress import codecs as _codecs
from ._compress.codecs import (
    LZ4_NOT_INSTALLED_ERROR,
    ZSTD_NOT_INSTALLED_ERROR,
    BZ2CompressorWrapper,
    CompressorWrapper,
    GzipCompressorWrapper,
    LZ4CompressorWrapper,
    LZMACompressorWrapper,
    XZCompressorWrapper,
    ZlibCompressorWrapper,
    ZstdCompressorWrapper,
)
from ._compress.registry import CODECS as _COMPRESSORS
from ._compress.registry import register_compressor
from ._compress.zlibfile import BinaryGzipFile, BinaryZlibFile

__all__ = [
    "_COMPRESSORS",
    "LZ4_NOT_INSTALLED_ERROR",
    "ZSTD_NOT_INSTALLED_ERROR",
    "BZ2CompressorWrapper",
    "BinaryGzipFile",
    "BinaryZlibFile",
    "CompressorWrapper",
    "GzipCompressorWrapper",
    "LZ4CompressorWrapper",
    "LZMACompressorWrapper",
    "XZCompressorWrapper",
    "ZlibCompressorWrapper",
    "ZstdCompressorWrapper",
    "register_compressor",
]

# Read by code that recognises files by their first bytes.
_ZFILE_PREFIX = _codecs.ZFILE_PREFIX
_ZLIB_PREFIX = _codecs.ZLIB_PREFIX
_GZIP_PREFIX = _codecs.GZIP_PREFIX
_BZ2_PREFIX = _codecs.BZ2_PREFIX
_XZ_PREFIX = _codecs.XZ_PREFIX
_LZMA_PREFIX = _codecs.LZMA_PREFIX
_LZ4_PREFIX = _codecs.LZ4_PREFIX
_ZSTD_PREFIX = _codecs.ZSTD_PREFIX
